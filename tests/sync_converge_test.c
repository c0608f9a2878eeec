/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random edits at every site of a chain, ring, star or mesh, over links that cut bytes anywhere and
 * break at any moment; in the end all sites are equal.
 */
#include "sync_world.h"

static void one_history(uint64_t seed, uint32_t blind)
{
    struct world w;
    world_open_with(&w, seed, (enum shape)(seed % 4), 2 + (uint32_t)(seed / 4 % 4), blind);
    w.chunk_bytes = (uint32_t[]){100, 600, 5000, 0}[chance(&w, 4)];
    for (uint32_t i = 0; i < w.links; i++)
        w.link[i].pipe.piece_max = (size_t[]){1, 40, 1000, 0}[chance(&w, 4)];
    for (int turn = 0; turn < 150; turn++) {
        w.wall_ms += chance(&w, 50);
        struct link *l = &w.link[chance(&w, w.links)];
        switch (chance(&w, 12)) {
        case 0:
            link_down(l);
            break;
        case 1:
        case 2:
            if (!l->up)
                link_up(&w, l);
            break;
        case 3:
        case 4: /* time enough for a walk over the log to be given up and begun anew */
            l->pipe.now_ms += chance(&w, 1500);
            wake_all(&w);
            break;
        default:
            edit(&w, &w.site[chance(&w, w.sites)]);
            wake_all(&w);
        }
        for (uint64_t n = chance(&w, 12) * chance(&w, 12); n > 0 && step(&w); n--)
            ;
        assert_no_end(&w);
    }
    all_links(&w);
    settle(&w);
    assert_equal(&w);
    world_close(&w);
}

static void edits_at_all_sites_meet_in_every_shape_whatever_is_cut(void **state)
{
    (void)state;
    uint64_t first = test_seed(), histories = test_rounds(80, 1000);
    for (uint64_t i = 0; i < histories; i++)
        one_history(first + i, 0);
}

/* The first site, which is a star's hub, and some others: next to each other, too. */
static void blind_sites_carry_what_members_write(void **state)
{
    (void)state;
    uint64_t first = test_seed(), histories = test_rounds(80, 1000);
    for (uint64_t i = 0; i < histories; i++) {
        uint32_t sites = 2 + (uint32_t)((first + i) / 4 % 4);
        one_history(first + i, sites > 3 ? (uint32_t[]){1, 3, 2, 5}[i / 16 % 4] : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_at_all_sites_meet_in_every_shape_whatever_is_cut),
        cmocka_unit_test(blind_sites_carry_what_members_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
