/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the first byte to the first change.
 *
 *   connecting                    accepting
 *   HELLO [ENROL]          ->
 *                          <-     HELLO                     it has the database
 *   PROOF                  ->
 *                          <-     PROOF WELCOME RESUME      it knows the peer now
 *   WELCOME RESUME         ->                               so does this side
 *
 * Neither side says anything of the database, its size included, before the other has proven that
 * it holds the key. A proof is a MAC over both HELLOs as they were sent, hence over both nonces,
 * both node ids, the database and what was negotiated; over the binding of the stream that carried
 * them; and over which side and which key it is. So it is good for this handshake, on this stream,
 * in this direction, and for nothing else, and it lapses with the challenge that it answers, by the
 * clock of the side that made the challenge.
 */
#include "sync/session_priv.h"

#include <stdio.h>

enum { CONNECTING = 0, ACCEPTING = 1 };

/* What this side knows, as far as it knows its replica. */
static uint64_t own_features(const struct bz_session *s)
{
    uint64_t lazy = s->options.lazy_ms != UINT32_MAX ? BZ_FEATURE_LAZY : 0;
    const struct bz_replica_ops *ops = s->replica.ops; /* not yet there where a HELLO is awaited */
    uint64_t reconcile = ops != NULL && ops->coverage_tell != NULL ? BZ_FEATURE_RECONCILE : 0;
    uint64_t filters = ops != NULL && ops->scope != NULL ? BZ_FEATURE_FILTERS : 0;
    return (BZ_FEATURE_LZ4 | BZ_FEATURE_ZSTD | lazy | reconcile | filters) & ~s->options.without;
}

static int own_side(const struct bz_session *s)
{
    return s->options.connecting ? CONNECTING : ACCEPTING;
}

static int send_hello(struct bz_session *s, blaze_error *error)
{
    struct bz_hello hello = {
        .version_min = BZ_SYNC_VERSION,
        .version_max = BZ_SYNC_VERSION,
        .features = own_features(s),
        .challenge = s->options.handshake_ms,
        .database = s->self.database,
        .node = s->self.node,
        .epoch = s->self.epoch,
        .role = s->self.role,
        .enrols = s->options.connecting && s->options.enrol_key != NULL,
        .blind = s->self.blind,
    };
    int rc = s->auth.random(s->auth.context, hello.nonce, sizeof hello.nonce);
    if (rc != 0)
        return bz_error_code(error, rc);
    struct bz_buf *kept = &s->hellos[own_side(s)];
    bz_hello_encode(kept, &hello);
    if (kept->error != 0)
        return bz_error_code(error, kept->error);
    bz_frame_append(&s->output, BZ_FRAME_HELLO, bz_buf_bytes(kept));
    return 0;
}

static int check_peer(struct bz_session *s, const struct bz_hello *hello, blaze_error *error)
{
    if (memcmp(&hello->database, &s->self.database, sizeof hello->database) != 0)
        return bz_error_set(error, BLAZE_EDATABASE, "the peer speaks of another database");
    if (memcmp(&hello->node, &s->self.node, sizeof hello->node) == 0)
        return bz_error_set(error, BLAZE_EEXIST,
            "both ends are the same node: a copy of a database must get an id of its own");
    return 0;
}

/* The accepting side knows by now for whom it is to speak. */
static int answer_hello(struct bz_session *s, const struct bz_hello *hello, blaze_error *error)
{
    int rc = s->replica.ops->identity(s->replica.context, &s->self);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = check_peer(s, hello, error);
    return rc != 0 ? rc : send_hello(s, error);
}

int bz_handshake_start(struct bz_session *s, blaze_error *error)
{
    s->step = BZ_STEP_HELLO;
    if (!s->options.connecting)
        return 0;
    int rc = s->replica.ops->identity(s->replica.context, &s->self);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = send_hello(s, error);
    if (rc != 0 || s->options.enrol_key == NULL)
        return rc;
    struct bz_enrol enrol = {.database = s->self.database, .secret = s->options.enrol_secret};
    memcpy(enrol.key, s->key, sizeof enrol.key);
    bz_enrol_encode(&s->scratch, &enrol);
    explicit_bzero(&enrol, sizeof enrol);
    bz_session_send(s, BZ_FRAME_ENROL);
    explicit_bzero(s->scratch.data, s->scratch.capacity);
    return 0;
}

/* ---- proofs ---- */

static int compute_mac(struct bz_session *s, int side, bool member, uint8_t out[32])
{
    static const char label[16] = "blazedb proof v1";
    struct bz_buf *t = &s->scratch;
    bz_buf_clear(t);
    bz_buf_append(t, label, sizeof label);
    bz_buf_append8(t, member);
    bz_buf_append8(t, (uint8_t)side);
    bz_buf_append(t, s->options.binding, sizeof s->options.binding);
    bz_buf_append_sized(t, bz_buf_bytes(&s->hellos[CONNECTING]));
    bz_buf_append_sized(t, bz_buf_bytes(&s->hellos[ACCEPTING]));
    int rc = t->error != 0 ? t->error : s->auth.mac(s->auth.context, member, bz_buf_bytes(t), out);
    bz_buf_clear(t);
    return rc;
}

/* In a time that does not depend on where they differ. */
static bool equal_macs(const uint8_t a[32], const uint8_t b[32])
{
    volatile uint8_t difference = 0;
    for (int i = 0; i < 32; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

static int send_proof(struct bz_session *s, blaze_error *error)
{
    struct bz_proof proof = {0};
    int rc = compute_mac(s, own_side(s), false, proof.access_mac);
    if (rc == 0) {
        rc = compute_mac(s, own_side(s), true, proof.member_mac);
        proof.member = rc == 0;
        rc = rc == BLAZE_ENOTFOUND ? 0 : rc;
    }
    if (rc != 0)
        return bz_error_set(error, rc, "no proof of the database's key could be made");
    bz_proof_encode(&s->scratch, &proof);
    bz_session_send(s, BZ_FRAME_PROOF);
    return 0;
}

/* Clear records go to nobody who has not proven this. */
static int check_membership(struct bz_session *s, const struct bz_proof *proof, blaze_error *error)
{
    uint8_t mac[32];
    int rc = proof->member ? compute_mac(s, !own_side(s), true, mac) : BLAZE_ENOTFOUND;
    if (rc == BLAZE_ENOTFOUND)
        return bz_error_set(error, BLAZE_EAUTH, "the peer does not prove that it is a member");
    if (rc != 0)
        return bz_error_code(error, rc);
    if (!equal_macs(mac, proof->member_mac))
        return bz_error_set(error, BLAZE_EAUTH, "the peer's proof of membership is wrong");
    s->status.peer_is_member = true;
    return 0;
}

static int begin_sealing(struct bz_session *s, blaze_error *error)
{
    if (s->auth.seal == NULL)
        return bz_error_set(error, BLAZE_EVERSION, "blind peers are not served here");
    int rc = bz_opaque_begin(s);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

static int check_proof(struct bz_session *s, const struct bz_proof *proof, blaze_error *error)
{
    uint8_t mac[32];
    int peer = !own_side(s);
    int rc = compute_mac(s, peer, false, mac);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (!equal_macs(mac, proof->access_mac))
        return bz_error_set(
            error, BLAZE_EAUTH, "the two ends hold different keys for this database");
    if (s->status.peer_is_blind && proof->member)
        return bz_error_set(
            error, BLAZE_EPROTO, "the peer says that it is blind, and that it has the key");
    if (!s->self.blind && !s->status.peer_is_blind)
        rc = check_membership(s, proof, error);
    else if (!s->self.blind) /* from here on it gets and gives sealed records only */
        rc = begin_sealing(s, error);
    s->status.peer_is_proven = rc == 0;
    return rc;
}

/* ---- what follows once the peer is known ---- */

static int send_welcome(struct bz_session *s)
{
    struct bz_buf names;
    bz_buf_init(&names, BZ_DICTIONARIES_MAX * BZ_DICTIONARY_NAME);
    int rc = bz_opaque_names(s, &names);
    struct bz_welcome welcome = {
        .position = s->replica.ops->position(s->replica.context),
        .chunk = s->options.chunk_bytes,
        .window = s->in.window,
        .dictionaries = bz_buf_bytes(&names),
    };
    bz_welcome_encode(&s->scratch, &welcome);
    bz_session_send(s, BZ_FRAME_WELCOME);
    bz_buf_release(&names);
    return rc;
}

/* What we have, for a peer whose log we have no position in. */
static int summarize(struct bz_session *s, struct bz_buf *out)
{
    struct bz_vv vv;
    bz_arena_reset(&s->in.arena);
    int rc = s->replica.ops->version(s->replica.context, &s->in.arena, &vv);
    uint32_t self = UINT32_MAX;
    if (rc == 0 && s->in.scope != 0) /* a partial replica may have let go of what it wrote */
        rc = s->replica.ops->node_number(s->replica.context, &s->self.node, &self);
    for (uint32_t i = 0; rc == 0 && i < vv.count && i < BZ_SUMMARY_MAX; i++) {
        struct bz_bytes meaning;
        if (vv.entries[i].node == self)
            continue;
        rc =
            s->replica.ops->meaning(s->replica.context, BZ_TERM_NODE, vv.entries[i].node, &meaning);
        blaze_id node;
        if (rc == 0 && meaning.size != sizeof node)
            rc = BLAZE_ECORRUPT;
        if (rc == 0) {
            memcpy(&node, meaning.data, sizeof node);
            bz_summary_append(out, &node, vv.entries[i].seq);
        }
    }
    return rc != 0 ? rc : out->error;
}

int bz_handshake_ask(struct bz_session *s, blaze_error *error)
{
    struct bz_buf summary;
    struct bz_arena arena;
    struct bz_resume resume = {
        .round = s->in.round,
        .epoch = s->peer_epoch,
        .position = s->in.cursor,
        .as_of = s->in.as_of,
        .reached = s->in.reached,
        .trail = s->in.trail,
    };
    bz_buf_init(&summary, BZ_FRAME_CONTROL_MAX / 2);
    bz_arena_init(&arena);
    int rc = bz_scope_ask(s, &arena, &resume, error);
    if (rc != 0) {
        bz_arena_release(&arena);
        return rc;
    }
    if (s->in.cursor == 0 && s->in.round == 0)
        rc = summarize(s, &summary);
    if (rc == 0) {
        resume.summary = bz_buf_bytes(&summary);
        bz_resume_encode(&s->scratch, &resume);
        bz_session_send(s, BZ_FRAME_RESUME);
    }
    bz_buf_release(&summary);
    bz_arena_release(&arena);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}

/* What was left out may be as it should be by now. */
static int ask_again(struct bz_session *s, blaze_error *error)
{
    const struct bz_replica_ops *ops = s->replica.ops;
    struct bz_incoming *in = &s->in;
    bool again = false;
    if (!s->opaque.active || ops->left_out_again == NULL || in->cursor == 0)
        return 0;
    int rc = ops->left_out_again(s->replica.context, &again, error);
    if (again) {
        in->cursor = in->reached = 0;
        in->awaits = (struct bz_awaited){0};
    }
    return rc;
}

/* The peer is proven: tells it where we stand, and where to go on. */
static int settle(struct bz_session *s, blaze_error *error)
{
    struct bz_peer_state known;
    int rc = s->replica.ops->peer_load(s->replica.context, &s->status.peer, &known);
    if (rc == 0)
        rc = s->replica.ops->node_number(s->replica.context, &s->self.node, &s->in.self);
    if (rc != 0)
        return bz_error_code(error, rc);
    if (memcmp(&known.epoch, &s->peer_epoch, sizeof known.epoch) == 0) {
        s->in.cursor = known.cursor + (BZ_MUTANT(CURSOR_OFF_BY_ONE) && known.cursor > 0);
        s->in.as_of = known.as_of > s->in.cursor ? known.as_of : s->in.cursor;
        s->in.reached = known.reached < known.cursor ? known.reached : known.cursor;
        s->in.trail = known.trail;
        s->in.held = known.held;
        s->in.awaits = known.awaits;
    }
    s->in.scope = known.scope;
    rc = ask_again(s, error);
    if (rc != 0)
        return rc;
    rc = send_welcome(s);
    if (rc != 0)
        return bz_error_code(error, rc);
    s->reconciles = (s->peer_features & own_features(s) & BZ_FEATURE_RECONCILE) != 0;
    rc = bz_coverage_warn(s, error);
    if (rc == 0)
        rc = bz_handshake_ask(s, error);
    return rc == 0 ? bz_coverage_begin(s, error) : rc;
}

/* ---- frames ---- */

/* The accepting side learns which database it is about. */
static int admit(struct bz_session *s, const struct bz_hello *hello, blaze_error *error)
{
    const struct bz_session_host *host = s->options.host;
    if (hello->enrols) {
        s->step = BZ_STEP_ENROL;
        return 0;
    }
    int rc = host->open(host->context, &hello->database, &s->replica, &s->auth, error);
    return rc != 0 ? rc : answer_hello(s, hello, error);
}

static int on_hello(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_hello hello;
    if (bz_hello_decode(payload, &hello) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer does not speak this protocol");
    if (hello.version_min > BZ_SYNC_VERSION || hello.version_max < BZ_SYNC_VERSION)
        return bz_error_set(error, BLAZE_EVERSION,
            "the peer speaks versions %llu to %llu of the protocol, this side version %d",
            (unsigned long long)hello.version_min, (unsigned long long)hello.version_max,
            BZ_SYNC_VERSION);
    if (!s->options.connecting && memcmp(&hello.database, &(blaze_id){0}, sizeof(blaze_id)) == 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer names no database");
    struct bz_buf *kept = &s->hellos[!own_side(s)];
    bz_buf_append(kept, payload.data, payload.size);
    if (kept->error != 0)
        return bz_error_code(error, kept->error);
    s->status.peer = hello.node;
    s->status.peer_role = hello.role;
    s->peer_features = hello.features;
    s->status.peer_is_blind = hello.blind;
    s->peer_epoch = hello.epoch;
    s->features = hello.features & (own_features(s) | BZ_FEATURE_FILTERS);
    s->step = BZ_STEP_PROOF;
    if (!s->options.connecting)
        return admit(s, &hello, error);
    int rc = check_peer(s, &hello, error);
    return rc != 0 ? rc : send_proof(s, error);
}

static int on_enrol(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    const struct bz_session_host *host = s->options.host;
    struct bz_hello hello;
    struct bz_enrol enrol;
    int rc = bz_hello_decode(bz_buf_bytes(&s->hellos[CONNECTING]), &hello);
    if (rc == 0)
        rc = bz_enrol_decode(payload, &enrol);
    if (rc != 0)
        return bz_error_set(error, rc, "the peer's enrolment is malformed");
    if (memcmp(&hello.database, &enrol.database, sizeof enrol.database) != 0)
        rc = bz_error_set(error, BLAZE_EDATABASE, "the peer enrols another database");
    else if (host->enrol == NULL)
        rc = bz_error_set(error, BLAZE_EPERM, "no new databases are taken here");
    else
        rc = host->enrol(
            host->context, &enrol.database, enrol.secret, enrol.key, &s->replica, &s->auth, error);
    explicit_bzero(&enrol, sizeof enrol);
    s->step = BZ_STEP_PROOF;
    return rc != 0 ? rc : answer_hello(s, &hello, error);
}

static int on_proof(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_proof proof;
    if (bz_proof_decode(payload, &proof) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's proof is malformed");
    int rc = check_proof(s, &proof, error);
    if (rc == 0 && !s->options.connecting)
        rc = send_proof(s, error);
    if (rc != 0)
        return rc;
    s->step = BZ_STEP_WELCOME;
    return settle(s, error);
}

static int on_welcome(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_welcome welcome;
    if (bz_welcome_decode(payload, &welcome) != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's welcome is malformed");
    s->in.head = welcome.position;
    bz_opaque_there(s, welcome.dictionaries);
    bz_outgoing_adapt(s);
    s->out.window = welcome.window;
    s->out.chunk_bytes = s->options.chunk_bytes;
    if (s->out.chunk_bytes > welcome.chunk)
        s->out.chunk_bytes = welcome.chunk;
    if (s->out.chunk_bytes > welcome.window)
        s->out.chunk_bytes = welcome.window;
    s->step = BZ_STEP_RESUME;
    return 0;
}

static int on_resume(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_resume resume;
    if (bz_resume_decode(payload, &resume) != 0 || resume.round != 0)
        return bz_error_set(error, BLAZE_EPROTO, "the peer's request is malformed");
    s->step = BZ_STEP_OPEN;
    return bz_outgoing_resume(s, &resume, error);
}

static const char *step_names[] = {"HELLO", "ENROL", "PROOF", "WELCOME", "RESUME"};

int bz_handshake_frame(
    struct bz_session *s, uint8_t type, struct bz_bytes payload, blaze_error *error)
{
    static const uint8_t expected[] = {
        BZ_FRAME_HELLO, BZ_FRAME_ENROL, BZ_FRAME_PROOF, BZ_FRAME_WELCOME, BZ_FRAME_RESUME};
    if (type != expected[s->step])
        return bz_error_set(error, BLAZE_EPROTO, "the peer sent a frame of type %u instead of %s",
            type, step_names[s->step]);
    switch (s->step) {
    case BZ_STEP_HELLO:
        return on_hello(s, payload, error);
    case BZ_STEP_ENROL:
        return on_enrol(s, payload, error);
    case BZ_STEP_PROOF:
        return on_proof(s, payload, error);
    case BZ_STEP_WELCOME:
        return on_welcome(s, payload, error);
    default:
        return on_resume(s, payload, error);
    }
}
