/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: what each takes, and what its --help says. */
#include "cli.h"

#define SORT                                                                                       \
    {                                                                                              \
        "sort", "FIELD[:desc]", "in the order of a field; otherwise by id"                         \
    }
#define LIMIT                                                                                      \
    {                                                                                              \
        "limit", "N", "at most N records"                                                          \
    }
#define OFFSET                                                                                     \
    {                                                                                              \
        "offset", "N", "without the first N"                                                       \
    }
#define TIMEOUT                                                                                    \
    {                                                                                              \
        "timeout", "SECONDS", "give up after this long without being done (10)"                    \
    }

#define ASK                                                                                        \
    {                                                                                              \
        "passphrase", NULL, "seal it, asking for a passphrase on the terminal"                     \
    }
#define KDF                                                                                        \
    {"kdf-memory", "KIB", "memory that deriving a key from the passphrase takes (65536)"},         \
    {                                                                                              \
        "kdf-passes", "N", "how often it goes over that memory (3)"                                \
    }

#define SCOPE                                                                                      \
    {"only", "COLLECTION", "hold this collection; may be given several times"},                    \
    {                                                                                              \
        "where", "'COLLECTION: FILTER'", "hold what the filter takes of it; several times"         \
    }

const struct cli_command cli_commands[] = {
    {
        .name = "create",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Make a new, empty database in the directory DB.",
        .options = {{"role", "client|server",
                        "a server's write wins over a client's where both wrote at once (client)"},
            ASK, KDF},
        .more =
            "With --passphrase, --passphrase-file or --key-file it is sealed: all that is written\n"
            "to its files is encrypted, and every command wants the same from then on. There is\n"
            "no way into it without.\n\n"
            "example: blazedb create notes.blz\n"
            "example: blazedb create notes.blz --passphrase\n"
            "example: blazedb create notes.blz --passphrase-file ~/.notes-passphrase\n"
            "example: head -c 32 /dev/urandom > ~/.notes-key && chmod 600 ~/.notes-key &&\n"
            "         blazedb create notes.blz --key-file ~/.notes-key",
        .run = cmd_create,
    },
    {
        .name = "import",
        .words = "DB COLLECTION FILE|-",
        .words_min = 3,
        .words_max = 3,
        .summary = "Add the JSON objects of a file; prints {\"imported\":N}.",
        .options =
            {
                {"format", "jsonl|json",
                    "an object a line (jsonl), or one array of objects (json)"},
                {"id", "FIELD", "derive each id from this field"},
            },
        .more =
            "A record's id is its \"_id\" if it has one; else derived from the field that --id\n"
            "names; else new. With the first two, importing again replaces and does not double.\n"
            "A line that cannot be taken ends the import with its number; everything before it\n"
            "is committed.\n\n"
            "example: blazedb import notes.blz cities cities.jsonl --id name\n"
            "example: zcat cities.jsonl.gz | blazedb import notes.blz cities -",
        .run = cmd_import,
    },
    {
        .name = "export",
        .words = "DB COLLECTION [FILTER]",
        .words_min = 2,
        .words_max = 3,
        .summary = "Print records as JSON lines that import takes back, ids included.",
        .options = {SORT, LIMIT, OFFSET},
        .more = "example: blazedb export notes.blz cities > cities.jsonl",
        .run = cmd_export,
    },
    {
        .name = "insert",
        .words = "DB COLLECTION JSON|-",
        .words_min = 3,
        .words_max = 3,
        .summary = "Add a record; prints {\"_id\":\"...\"}. An \"_id\" in it is its id.",
        .options = {{"id", "UUID", "its id (a new one)"}},
        .more = "example: blazedb insert notes.blz cities '{\"name\":\"Vila\",\"lat\":42.53}'",
        .run = cmd_insert,
    },
    {
        .name = "put",
        .words = "DB COLLECTION ID JSON|-",
        .words_min = 4,
        .words_max = 4,
        .summary = "Write a whole record, whether or not there is one.",
        .more = "example: blazedb put notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b \\\n"
                "             '{\"name\":\"Vila\"}'",
        .run = cmd_put,
    },
    {
        .name = "update",
        .words = "DB COLLECTION ID JSON|-",
        .words_min = 4,
        .words_max = 4,
        .summary = "Write some fields of a record; {\"field\":{\"$unset\":true}} removes one.",
        .more =
            "Fields that are not named stay as they are, also where another copy writes them at\n"
            "the same time.\n\n"
            "example: blazedb update notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b \\\n"
            "             '{\"lat\":42.54,\"draft\":{\"$unset\":true}}'",
        .run = cmd_update,
    },
    {
        .name = "delete",
        .words = "DB COLLECTION ID",
        .words_min = 3,
        .words_max = 3,
        .summary = "Delete a record.",
        .more = "example: blazedb delete notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b",
        .run = cmd_delete,
    },
    {
        .name = "get",
        .words = "DB COLLECTION ID",
        .words_min = 3,
        .words_max = 3,
        .summary = "Print a record, \"_id\" first.",
        .more = "example: blazedb get notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b",
        .run = cmd_get,
    },
    {
        .name = "find",
        .words = "DB COLLECTION [FILTER]",
        .words_min = 2,
        .words_max = 3,
        .summary = "Print the records that a filter takes, or how many they are.",
        .options = {SORT, LIMIT, OFFSET, {"count", NULL, "print {\"count\":N} only"}},
        .more =
            "A filter compares fields: = != < <= > >= in contains starts exists and or not ( );\n"
            "strings stand in double quotes. docs/query.md has the whole language.\n\n"
            "example: blazedb find notes.blz cities 'country = \"AD\" and lat > 42.5' --sort name\n"
            "example: blazedb find notes.blz cities 'name contains \"Sant\"' --count",
        .run = cmd_find,
    },
    {
        .name = "explain",
        .words = "DB COLLECTION [FILTER]",
        .words_min = 2,
        .words_max = 3,
        .summary = "Say how a find would go about it: through which index, or all records.",
        .options = {SORT, LIMIT, OFFSET},
        .more = "example: blazedb explain notes.blz cities 'country = \"AD\"'",
        .run = cmd_explain,
    },
    {
        .name = "index",
        .words = "DB COLLECTION FIELD",
        .words_min = 3,
        .words_max = 3,
        .summary = "Make an index, so that finding and sorting by FIELD is fast.",
        .options =
            {
                {"name", "NAME", "what the index is called (as the field)"},
                {"drop", NULL, "take the index away instead"},
            },
        .more = "An index belongs to this copy of the database only.\n\n"
                "example: blazedb index notes.blz cities country\n"
                "example: blazedb index notes.blz cities country --drop",
        .run = cmd_index,
    },
    {
        .name = "indexes",
        .words = "DB COLLECTION",
        .words_min = 2,
        .words_max = 2,
        .summary = "List the indexes of a collection.",
        .more = "example: blazedb indexes notes.blz cities",
        .run = cmd_indexes,
    },
    {
        .name = "status",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Print what there is to know: ids, counts, versions, digest, peers, sizes.",
        .more = "Two copies with equal digests hold the same records.\n\n"
                "example: blazedb status notes.blz",
        .run = cmd_status,
    },
    {
        .name = "conflicts",
        .words = "DB [COLLECTION [ID]]",
        .words_min = 1,
        .words_max = 3,
        .summary = "List the fields that several copies wrote without knowing of each other.",
        .options = {{"count", NULL, "print {\"count\":N}, the records in conflict, only"}},
        .more =
            "The winner is what readers see; the losers stay until somebody writes the field.\n"
            "\"life\":true is of a whole record: deleted by one side, written to by the other.\n\n"
            "example: blazedb conflicts notes.blz cities\n"
            "example: blazedb conflicts notes.blz --count",
        .run = cmd_conflicts,
    },
    {
        .name = "resolve",
        .words = "DB [COLLECTION [ID [FIELD]]]",
        .words_min = 1,
        .words_max = 4,
        .summary = "End conflicts: by one of the values, by a new one, or by a policy.",
        .options =
            {
                {"take", "N", "of one field: the value that conflicts lists as number N, from 0"},
                {"value", "JSON", "of one field: a new value"},
                {"policy", "NAME", "last, server, list, greatest or least, this once"},
                {"keep", NULL, "of a record that was deleted and written to: it stays"},
                {"delete", NULL, "of such a record: it is deleted"},
            },
        .more =
            "Number 0 is the winner, which readers see; the losers follow. Without an option, "
            "what\n"
            "the policies that are set say; prints {\"resolved\":N}, the records written to.\n\n"
            "example: blazedb resolve notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b \\\n"
            "             name --take 1\n"
            "example: blazedb resolve notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b \\\n"
            "             name --value '\"Vila\"'\n"
            "example: blazedb resolve notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b "
            "--keep\n"
            "example: blazedb resolve notes.blz cities --policy last\n"
            "example: blazedb resolve notes.blz",
        .run = cmd_resolve,
    },
    {
        .name = "policy",
        .words = "DB [COLLECTION [POLICY]]",
        .words_min = 1,
        .words_max = 3,
        .summary = "Show or set by what rule conflicts of a collection are settled.",
        .options = {{"field", "FIELD", "of one field of the collection"}},
        .more =
            "POLICY is last (the last write), server (a server's last write before a client's),\n"
            "list (an array of all), greatest, least, none, or unset, which for a field means: as\n"
            "its collection. It is kept in this copy, and whoever syncs this copy settles by it;\n"
            "set it in one. Then it settles what is in conflict already, and prints how much.\n\n"
            "example: blazedb policy notes.blz cities last\n"
            "example: blazedb policy notes.blz cities list --field tags\n"
            "example: blazedb policy notes.blz",
        .run = cmd_policy,
    },
    {
        .name = "check",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Read everything, and check that records, indexes and log agree.",
        .more = "example: blazedb check notes.blz",
        .run = cmd_check,
    },
    {
        .name = "collect",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Remove what is left of deleted records that all copies know to be deleted.",
        .more = "Databases that sync do so by themselves.\n\nexample: blazedb collect notes.blz",
        .run = cmd_collect,
    },
    {
        .name = "retention",
        .words = "DB [DAYS]",
        .words_min = 1,
        .words_max = 2,
        .summary = "Show, or set, for how long deleted records wait for a copy that is away.",
        .more = "example: blazedb retention notes.blz 90",
        .run = cmd_retention,
    },
    {
        .name = "forget",
        .words = "DB NODE",
        .words_min = 2,
        .words_max = 2,
        .summary = "Have deleted records no longer wait for a copy that will not come back.",
        .more = "Its id is in \"replicas\" of blazedb status.\n\n"
                "example: blazedb forget notes.blz 0f8a1c9e-6d07-4c5b-9a39-0d7c3f0b5a11",
        .run = cmd_forget,
    },
    {
        .name = "watch",
        .words = "DB [COLLECTION]",
        .words_min = 1,
        .words_max = 2,
        .summary = "Print a line for each change, by whomever, until stopped.",
        .more = "example: blazedb watch notes.blz cities",
        .run = cmd_watch,
    },
    {
        .name = "passphrase",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Have a sealed database open with another passphrase or key file.",
        .options =
            {
                {"new-passphrase-file", "FILE", "the new one (otherwise asked for)"},
                {"new-key-file", "FILE", "a key file instead"},
                KDF,
            },
        .more =
            "The data stays as it is, and whoever has the database open goes on. Who knows the\n"
            "old passphrase and has a copy of the files as they were can still read that copy,\n"
            "and with its key what is written later: if that matters, use rekey.\n\n"
            "example: blazedb passphrase notes.blz\n"
            "example: blazedb passphrase notes.blz --passphrase-file old --new-passphrase-file new",
        .run = cmd_passphrase,
    },
    {
        .name = "rekey",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Rewrite a database under a new data key; seals one that is not, or unseals it.",
        .options =
            {
                {"new-passphrase", NULL, "ask for a new passphrase on the terminal"},
                {"new-passphrase-file", "FILE", "a new passphrase"},
                {"new-key-file", "FILE", "a new key file"},
                {"unseal", NULL, "leave it without any"},
                KDF,
            },
        .more =
            "Without a new one it keeps its passphrase or key file. Nobody may have it open. It\n"
            "takes the room of a second copy, DB.rekey, which takes the place of the first at\n"
            "once: what ends it before that leaves the database as it was.\n\n"
            "example: blazedb rekey notes.blz --passphrase-file pass\n"
            "example: blazedb rekey notes.blz --new-passphrase\n"
            "example: blazedb rekey notes.blz --key-file key --unseal",
        .run = cmd_rekey,
    },
    {
        .name = "serve",
        .words = "DIR",
        .words_min = 1,
        .words_max = 1,
        .summary = "Run a hub that keeps its databases in DIR, until stopped.",
        .options =
            {
                {"listen", "URL",
                    "tcp://HOST:PORT (port 0 picks one) or unix:PATH; may be repeated"},
                {"trusted", NULL,
                    "take the secrets of databases shared with --trusted, and read them"},
                {"closed", NULL, "take in no new databases"},
                {"max-databases", "N", "take in new ones only while there are fewer than N"},
                {"log", NULL, "tell on the standard error who comes and goes"},
                ASK,
                KDF,
            },
        .more =
            "Prints {\"listening\":\"tcp://...\"} for each --listen when it is ready.\n\n"
            "The hub is blind: it carries databases that it cannot read. With --trusted it also\n"
            "takes those whose members give it the secret (share --trusted), as a full member.\n\n"
            "With --passphrase, --passphrase-file or --key-file all its databases are sealed by\n"
            "that, those that it has already must be. A key file opens them much faster.\n\n"
            "example: blazedb serve hub --listen tcp://127.0.0.1:7667",
        .run = cmd_serve,
    },
    {
        .name = "peer",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Keep DB in step with other peers, without a hub, until stopped.",
        .options =
            {
                {"listen", "URL",
                    "tcp://HOST:PORT (port 0 picks one) or unix:PATH; may be repeated"},
                {"connect", "URL", "where a peer or a hub listens; may be repeated"},
                {"log", NULL, "tell on the standard error who comes and goes"},
            },
        .more =
            "Prints {\"listening\":\"tcp://...\"} for each --listen when it is ready, then a line\n"
            "for each change of a connection's state and for each exchange. What one peer learns\n"
            "it hands on. \"blazedb share DB URL\" gives the code to join with from a peer that\n"
            "listens at URL.\n\n"
            "example: blazedb peer notes.blz --listen tcp://0.0.0.0:7668\n"
            "example: blazedb share notes.blz tcp://192.168.1.5:7668\n"
            "example: blazedb join copy.blz 'blaze://192.168.1.5:7668/...#...'\n"
            "example: blazedb peer copy.blz --connect tcp://192.168.1.5:7668",
        .run = cmd_peer,
    },
    {
        .name = "share",
        .words = "DB URL",
        .words_min = 2,
        .words_max = 2,
        .summary = "Bring the database to a hub; prints {\"code\":\"blaze://...\"} to join with.",
        .options = {{"trusted", NULL,
                        "give the hub the secret too, so that it can read and write the database"},
            TIMEOUT},
        .more =
            "The code holds the database's secret: treat it as a password. The hub does not get\n"
            "it, unless you say --trusted and the hub was started so.\n\n"
            "example: blazedb share notes.blz tcp://127.0.0.1:7667",
        .run = cmd_share,
    },
    {
        .name = "join",
        .words = "DB CODE",
        .words_min = 2,
        .words_max = 2,
        .summary = "Make DB a copy of the database that a code stands for, filled from its hub.",
        .options = {SCOPE, TIMEOUT, ASK, KDF},
        .more =
            "A join that was cut off is completed by joining again, or by sync.\n"
            "With --only and --where it is a partial copy: only what they take is fetched, and\n"
            "nothing else is held here (see: blazedb scope --help).\n\n"
            "example: blazedb join copy.blz 'blaze://127.0.0.1:7667/...#...' --only cities\n"
            "example: blazedb join copy.blz 'blaze://127.0.0.1:7667/...#...' --only people \\\n"
            "             --where 'cities: country = \"DE\"'\n"
            "example: blazedb join copy.blz 'blaze://127.0.0.1:7667/...#...'\n"
            "example: blazedb join copy.blz 'blaze://127.0.0.1:7667/...#...' --passphrase",
        .run = cmd_join,
    },
    {
        .name = "sync",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Bring the database and its hub to the same state, once or until stopped.",
        .options =
            {
                {"live", NULL, "stay connected; prints a line for each change of state"},
                TIMEOUT,
            },
        .more = "example: blazedb sync notes.blz\n"
                "example: blazedb sync notes.blz --live",
        .run = cmd_sync,
    },
    {
        .name = "scope",
        .words = "DB",
        .words_min = 1,
        .words_max = 1,
        .summary = "Show or set which part of the database this copy holds.",
        .options = {SCOPE, {"all", NULL, "hold the whole database again"}},
        .more =
            "A scope belongs to this copy alone. What it takes no longer goes from here, and from\n"
            "nowhere else; what it takes newly comes with the next sync. What is written here\n"
            "outside of it goes from here once a full copy has it. A partial copy syncs with full\n"
            "copies only. Prints {\"collection\",\"filter\"} for each collection, or\n"
            "{\"partial\":false}.\n\n"
            "example: blazedb scope notes.blz\n"
            "example: blazedb scope notes.blz --only people --where 'cities: country = \"DE\"'\n"
            "example: blazedb scope notes.blz --all && blazedb sync notes.blz",
        .run = cmd_scope,
    },
    {
        .name = "evict",
        .words = "DB COLLECTION [ID]",
        .words_min = 2,
        .words_max = 3,
        .summary = "Let go of records in a partial copy; other copies keep them.",
        .options = {{"where", "FILTER", "all that it takes, instead of one by its id"}},
        .more =
            "They come back when they are changed elsewhere, or when the scope is set again. What\n"
            "was written here must have been synced first: --where leaves such records, and says\n"
            "how many. Prints {\"evicted\":ID} or {\"evicted\":N,\"kept\":N}.\n\n"
            "example: blazedb evict notes.blz cities 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b\n"
            "example: blazedb evict notes.blz cities --where 'country != \"DE\"'",
        .run = cmd_evict,
    },
    {.name = NULL},
};
