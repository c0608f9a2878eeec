/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"
#include "net/test_pair.h"

static void urls_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum bz_url_kind kind;
        const char *host;
        uint16_t port;
    } good[] = {
        {"tcp://127.0.0.1:7667", BZ_URL_TCP, "127.0.0.1", 7667},
        {"tcp://hub.example:0", BZ_URL_TCP, "hub.example", 0},
        {"tcp://[::1]:65535", BZ_URL_TCP, "::1", 65535},
        {"unix:/run/hub.sock", BZ_URL_UNIX, "/run/hub.sock", 0},
        {"unix:hub.sock", BZ_URL_UNIX, "hub.sock", 0},
        {"mem:hub", BZ_URL_MEM, "hub", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct bz_url url;
        char text[BZ_URL_SIZE];
        assert_int_equal(bz_url_parse(&url, good[i].text, NULL), 0);
        assert_int_equal(url.kind, good[i].kind);
        assert_string_equal(url.host, good[i].host);
        assert_int_equal(url.port, good[i].port);
        bz_url_format(&url, text);
        assert_string_equal(text, good[i].text);
    }
}

static void a_malformed_url_is_told_what_is_expected(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "expected tcp://HOST:PORT, unix:PATH or mem:NAME"},
        {"http://example:80", "http://example:80: expected tcp://"},
        {"127.0.0.1:7667", "expected tcp://"},
        {"tcp://", "expected tcp://HOST:PORT"},
        {"tcp://host", "expected tcp://HOST:PORT"},
        {"tcp://:1", "expected tcp://HOST:PORT"},
        {"tcp://host:", "expected tcp://HOST:PORT"},
        {"tcp://host:65536", "expected tcp://HOST:PORT"},
        {"tcp://host:99999999999", "expected tcp://HOST:PORT"},
        {"tcp://host:1/path", "expected tcp://HOST:PORT"},
        {"tcp://host:-1", "expected tcp://HOST:PORT"},
        {"tcp://::1:7667", "expected tcp://HOST:PORT"},
        {"tcp://[::1:7667", "expected tcp://HOST:PORT"},
        {"tcp://[::1]7667", "expected tcp://HOST:PORT"},
        {"tcp://[[1]:7667", "expected tcp://HOST:PORT"},
        {"tcp://[name]:7667", "expected tcp://HOST:PORT"},
        {"tcp://user@host:7667", "expected tcp://HOST:PORT"},
        {"tcp://a b:7667", "expected tcp://HOST:PORT"},
        {"unix:", "no path"},
        {"mem:", "no name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bz_url url;
        blaze_error error;
        assert_int_equal(bz_url_parse(&url, bad[i][0], &error), BLAZE_EINVAL);
        if (strstr(error.text, bad[i][1]) == NULL)
            fail_msg("%s: %s", bad[i][0], error.text);
    }
    char longer[400] = "unix:/";
    memset(longer + 6, 'a', 300);
    struct bz_url url;
    blaze_error error;
    assert_int_equal(bz_url_parse(&url, longer, &error), BLAZE_EINVAL);
    assert_non_null(strstr(error.text, "at most 107"));
    memcpy(longer, "tcp://", 6);
    memcpy(longer + 290, ":1", 3);
    assert_int_equal(bz_url_parse(&url, longer, &error), BLAZE_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read_and_written),
        cmocka_unit_test(a_malformed_url_is_told_what_is_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
