/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which databases of the directory a blind hub will refuse, found out once, beside the start. They
 * are not opened, which would take long where there are many: the file `identity` of each says what
 * kind of copy it is. One that does not say is found out about when its first client comes.
 */

#include "base/alloc.h"
#include "hub/hub_priv.h"

struct survey {
    struct bz_hub *hub;
    uint32_t refused;
    char one[BLAZE_ID_TEXT_SIZE]; /* of these */
};

/* 0, or not if the hub is closing. */
static int look_at(void *context, const char *name)
{
    struct survey *survey = context;
    struct bz_hub *hub = survey->hub;
    blaze_id id;
    char text[BLAZE_ID_TEXT_SIZE];
    bool blind;
    if (atomic_load(&hub->closing))
        return BLAZE_ECANCELED;
    if (!bz_hosted_is_name(name, &id))
        return 0;
    char *path = bz_path_join(hub->directory, name);
    if (path == NULL)
        return BLAZE_ENOMEM;
    if (bz_db_peek_blind(path, &blind, NULL) == 0 && !blind && survey->refused++ == 0)
        memcpy(survey->one, blaze_id_format(&id, text), sizeof survey->one);
    bz_free(path);
    return 0;
}

static void run_survey(struct bz_strand *strand)
{
    struct bz_hub *hub = (struct bz_hub *)((char *)strand - offsetof(struct bz_hub, survey));
    struct survey survey = {.hub = hub};
    bz_dir_list(hub->directory, look_at, &survey, NULL);
    if (survey.refused > 0 && !atomic_load(&hub->closing))
        bz_hub_warn(hub,
            "%u of the databases here were given to this hub with their secret, and are refused as "
            "long as it runs without --trusted: %s%s",
            survey.refused, survey.one, survey.refused > 1 ? " and others" : "");
}

void bz_hub_survey(struct bz_hub *hub)
{
    hub->survey.run = run_survey;
    if (!hub->options.trusted)
        bz_strand_post(hub->pool, &hub->survey);
}
