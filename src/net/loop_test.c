/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, its timers and its watches. */

#include "net/net_priv.h"
#include "net/test_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

#ifdef __linux__
#include <linux/netlink.h>
#endif

struct counted {
    struct bz_task task;
    struct bz_loop *loop;
    unsigned runs;
    unsigned again;
};

static void count_run(struct bz_task *task)
{
    struct counted *counted = (struct counted *)task;
    NOTE(counted->runs++);
    if (counted->again > 0) {
        counted->again--;
        bz_loop_post(counted->loop, task);
    }
}

struct block {
    struct bz_loop *loop;
    bool here; /* the loop is blocked */
    bool go;
};

static void block_until_set(void *context)
{
    struct block *block = context;
    NOTE(block->here = true);
    WAIT_UNTIL(block->go);
}

static void *block_loop(void *context)
{
    struct block *block = context;
    bz_loop_call(block->loop, block_until_set, block);
    return NULL;
}

static void a_task_posted_many_times_before_it_runs_runs_once(void **state)
{
    (void)state;
    struct block block = {0};
    assert_int_equal(bz_loop_open(&block.loop, NULL), 0);
    struct counted first = {.task.run = count_run};
    struct counted second = {.task.run = count_run};
    struct counted cancelled = {.task.run = count_run};
    pthread_t thread;
    pthread_create(&thread, NULL, block_loop, &block);
    WAIT_UNTIL(block.here);
    bz_loop_post(block.loop, &cancelled.task);
    bz_loop_cancel(block.loop, &cancelled.task);
    for (unsigned i = 0; i < 100; i++) {
        bz_loop_post(block.loop, &first.task);
        bz_loop_post(block.loop, &second.task);
    }
    NOTE(block.go = true);
    WAIT_UNTIL(first.runs > 0 && second.runs > 0);
    pthread_join(thread, NULL);
    bz_loop_close(block.loop);
    assert_true(first.runs == 1 && second.runs == 1);
    assert_int_equal(cancelled.runs, 0);
}

static void a_task_may_post_itself_again(void **state)
{
    (void)state;
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    struct counted counted = {.task.run = count_run, .loop = loop, .again = 1000};
    bz_loop_post(loop, &counted.task);
    WAIT_UNTIL(counted.runs == 1001);
    bz_loop_close(loop);
}

struct poster {
    struct bz_loop *loop;
    pthread_t thread;
    struct counted tasks[500];
};

static void *post_all(void *context)
{
    struct poster *poster = context;
    for (unsigned i = 0; i < 500; i++)
        bz_loop_post(poster->loop, &poster->tasks[i].task);
    return NULL;
}

static void tasks_from_many_threads_all_run(void **state)
{
    (void)state;
    static struct poster posters[4];
    struct bz_loop *loop;
    assert_int_equal(bz_loop_open(&loop, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        memset(&posters[i], 0, sizeof posters[i]);
        posters[i].loop = loop;
        for (unsigned j = 0; j < 500; j++)
            posters[i].tasks[j].task.run = count_run;
        pthread_create(&posters[i].thread, NULL, post_all, &posters[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(posters[i].thread, NULL);
    bz_loop_close(loop); /* what was posted still runs */
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 500; j++)
            assert_int_equal(posters[i].tasks[j].runs, 1);
}

struct clocked {
    struct bz_loop *loop;
    struct bz_timer *timer;
    struct bz_timer *never;
    unsigned fired;
    unsigned wrong;
};

static void on_never(void *context)
{
    struct clocked *clocked = context;
    NOTE(clocked->wrong++);
}

static void on_fire(void *context)
{
    struct clocked *clocked = context;
    NOTE(clocked->fired++);
    if (clocked->fired < 3) {
        bz_timer_set(clocked->timer, 1);
    } else {
        bz_timer_close(clocked->timer);
        bz_timer_close(clocked->never);
    }
}

static void start_timers(void *context)
{
    struct clocked *clocked = context;
    int rc = bz_timer_open(&clocked->timer, clocked->loop, on_fire, clocked);
    rc |= bz_timer_open(&clocked->never, clocked->loop, on_never, clocked);
    if (rc != 0)
        abort();
    bz_timer_set(clocked->never, 1);
    bz_timer_stop(clocked->never);
    bz_timer_set(clocked->timer, 3600000);
    bz_timer_set(clocked->timer, 1);
}

static void timers_fire_once_for_each_setting_until_closed(void **state)
{
    (void)state;
    struct clocked clocked = {0};
    assert_int_equal(bz_loop_open(&clocked.loop, NULL), 0);
    bz_loop_call(clocked.loop, start_timers, &clocked);
    WAIT_UNTIL(clocked.fired == 3);
    bz_loop_close(clocked.loop);
    assert_int_equal(clocked.fired, 3);
    assert_int_equal(clocked.wrong, 0);
}

struct watched {
    struct bz_loop *loop;
    struct bz_watch *watch;
    const char *path;
    unsigned changes;
    int rc;
    blaze_error error;
};

static void on_change(void *context)
{
    struct watched *watched = context;
    NOTE(watched->changes++);
}

static void start_watch(void *context)
{
    struct watched *watched = context;
    watched->rc = bz_watch_open(
        &watched->watch, watched->loop, watched->path, on_change, watched, &watched->error);
}

static void stop_watch(void *context)
{
    struct watched *watched = context;
    bz_watch_close(watched->watch);
}

static void a_watch_tells_of_writes_to_its_file_until_closed(void **state)
{
    (void)state;
    char path[] = "/tmp/bz-watch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct watched watched = {.path = path};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    assert_int_equal(watched.rc, 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before;
        NOTE(before = watched.changes);
        assert_int_equal(write(fd, "x", 1), 1);
        WAIT_UNTIL(watched.changes > before);
    }
    bz_loop_call(watched.loop, stop_watch, &watched);
    unsigned last = watched.changes;
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    unlink(path);
    bz_loop_close(watched.loop);
    assert_int_equal(watched.changes, last);
}

static void rest_watch(void *context)
{
    struct watched *watched = context;
    bz_watch_rest(watched->watch);
}

static void resume_watch(void *context)
{
    struct watched *watched = context;
    watched->rc = bz_watch_again(watched->watch, &watched->error);
}

static void a_watch_that_rests_tells_of_nothing_and_then_goes_on(void **state)
{
    (void)state;
    char path[] = "/tmp/bz-watch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct watched watched = {.path = path};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    for (unsigned i = 0; i < 3; i++) {
        bz_loop_call(watched.loop, rest_watch, &watched);
        unsigned before;
        NOTE(before = watched.changes);
        assert_int_equal(write(fd, "x", 1), 1);
        bz_loop_call(watched.loop, resume_watch, &watched);
        assert_int_equal(watched.rc, 0);
        unsigned after;
        NOTE(after = watched.changes);
        assert_int_equal(after, before);
        assert_int_equal(write(fd, "x", 1), 1);
        WAIT_UNTIL(watched.changes > before);
    }
    bz_loop_call(watched.loop, rest_watch, &watched);
    unlink(path);
    bz_loop_call(watched.loop, resume_watch, &watched);
    assert_int_equal(watched.rc, BLAZE_ENOTFOUND);
    close(fd);
    bz_loop_close(watched.loop);
}

static void a_watch_on_nothing_says_what_is_missing(void **state)
{
    (void)state;
    struct watched watched = {.path = "/nowhere/at/all"};
    assert_int_equal(bz_loop_open(&watched.loop, NULL), 0);
    bz_loop_call(watched.loop, start_watch, &watched);
    assert_int_equal(watched.rc, BLAZE_ENOTFOUND);
    assert_non_null(strstr(watched.error.text, "/nowhere/at/all"));
    bz_loop_close(watched.loop);
}

#ifdef __linux__

struct networked {
    struct bz_loop *loop;
    struct bz_network_watch *watch;
    unsigned changes;
    int rc;
};

static void on_network(void *context)
{
    struct networked *networked = context;
    NOTE(networked->changes++);
}

static void start_network(void *context)
{
    struct networked *networked = context;
    networked->rc =
        bz_network_watch_open(&networked->watch, networked->loop, on_network, networked, NULL);
}

/* The only socket of this process that the kernel tells of its networks. */
static int network_socket(void)
{
    struct sockaddr_storage address;
    for (int fd = 0; fd < 1024; fd++) {
        socklen_t size = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
            address.ss_family == AF_NETLINK)
            return fd;
    }
    return -1;
}

/* Asks the kernel, whose answers nobody reads, until there is no room for them. */
static void overflow(void *context)
{
    struct networked *networked = context;
    struct nlmsghdr question = {.nlmsg_len = sizeof question,
        .nlmsg_type = NLMSG_NOOP,
        .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
    int size = 1;
    int fd = network_socket();
    networked->rc = setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct pollfd poll_for = {.fd = fd};
    while (networked->rc == 0 && poll(&poll_for, 1, 0) == 0)
        networked->rc = send(fd, &question, sizeof question, 0) == sizeof question ? 0 : errno;
}

static void a_network_watch_goes_on_after_more_changes_than_its_socket_holds(void **state)
{
    (void)state;
    struct networked networked = {0};
    assert_int_equal(bz_loop_open(&networked.loop, NULL), 0);
    bz_loop_call(networked.loop, start_network, &networked);
    assert_int_equal(networked.rc, 0);
    for (unsigned i = 1; i <= 3; i++) {
        bz_loop_call(networked.loop, overflow, &networked);
        assert_int_equal(networked.rc, 0);
        WAIT_UNTIL(networked.changes >= i);
    }
    bz_loop_close(networked.loop);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_posted_many_times_before_it_runs_runs_once),
        cmocka_unit_test(a_task_may_post_itself_again),
        cmocka_unit_test(tasks_from_many_threads_all_run),
        cmocka_unit_test(timers_fire_once_for_each_setting_until_closed),
        cmocka_unit_test(a_watch_tells_of_writes_to_its_file_until_closed),
        cmocka_unit_test(a_watch_that_rests_tells_of_nothing_and_then_goes_on),
        cmocka_unit_test(a_watch_on_nothing_says_what_is_missing),
#ifdef __linux__
        cmocka_unit_test(a_network_watch_goes_on_after_more_changes_than_its_socket_holds),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
