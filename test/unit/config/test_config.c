/* Tests of config: this program's flags, their defaults, bounds and rules, and its help text. */
#include "config/config.h"

#include "folder.h"

/* What one command line gave. */
struct run {
    struct config config;
    char error[CONFIG_ERROR_BYTES];
    enum config_outcome outcome;
};

static struct run run_words(int argc, const char *const *words)
{
    struct run run = {.error = "none"};
    char *argv[32] = {NULL};
    assert_true(argc < (int)COUNT(argv));
    for (int i = 0; i < argc; i++) {
        argv[i] = strdup(words[i]);
    }
    run.outcome = config_parse(argc, argv, &run.config, run.error);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return run;
}

#define RUN(...)                                                               \
    run_words((int)COUNT(((const char *const[]){"agent-proxy", __VA_ARGS__})), \
              (const char *const[]){"agent-proxy", __VA_ARGS__})
#define RUN_WITH(...) RUN("--gateway.address=http://gateway", "--tenant=t", __VA_ARGS__)

static void expect_error(struct run run, const char *error)
{
    assert_int_equal(run.outcome, CONFIG_ERROR);
    assert_string_equal(run.error, error);
    static const struct config untouched;
    assert_memory_equal(&run.config, &untouched, sizeof(untouched));
}

static void expect_run(struct run run)
{
    if (run.outcome != CONFIG_RUN) {
        fail_msg("%s", run.error);
    }
    config_deinit(&run.config);
    assert_null(run.config.tenant);
    assert_null(run.config.gateway_address.text);
}

static void test_defaults(void **state)
{
    (void)state;
    struct run run = RUN("--gateway.address=http://gateway", "--tenant=member-1");
    assert_int_equal(run.outcome, CONFIG_RUN);
    const struct config *config = &run.config;
    assert_string_equal(config->gateway_address.text, "http://gateway");
    assert_string_equal(config->gateway_address.path, "");
    assert_false(config->gateway_address.https);
    assert_string_equal(config->tenant, "member-1");
    assert_string_equal(config->tenant_header, "WHIZARD-TENANT");
    assert_true(config->tenant_path_prefix);
    assert_string_equal(config->gateway_write_path, "/api/v1/receive");
    assert_int_equal(config->gateway_max_inflight, 4);
    assert_int_equal(config->gateway_timeout_us, 20000000);
    assert_string_equal(config->http_host, "0.0.0.0");
    assert_int_equal(config->http_port, 9090);
    assert_int_equal(config->http_grace_period_us, 120000000);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->log_format, LOG_FORMAT_LOGFMT);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->workers_fill, 16);
    assert_int_equal(config->batch_max_bytes, 1048576);
    assert_int_equal(config->batch_max_decoded_bytes, 8388608);
    assert_int_equal(config->batch_max_requests, 64);
    assert_int_equal(config->batch_linger_us, 0);
    assert_int_equal(config->limits_body_bytes, 33554432);
    assert_int_equal(config->limits_decoded_bytes, 33554432);
    assert_int_equal(config->limits_memory_bytes, 0);
    assert_int_equal(config->limits_connections, 2048);
    assert_int_equal(config->limits_connections_per_address, 1536);
    assert_int_equal(config->gateway_max_connection_age_us, 300000000);
    assert_int_equal(config->reads_max_inflight, 64);
    assert_int_equal(config->reads_window_bytes, 262144);
    assert_int_equal(config->reads_timeout_us, 120000000);
    assert_false(config->reads_forward_authorization);
    config_deinit(&run.config);
}

static void test_every_flag_reaches_its_field(void **state)
{
    (void)state;
    struct run run = RUN(
        "--gateway.address=https://gateway:8443/base/", "--tenant", "a.b_C-9",
        "--tenant.header=X-Scope-OrgID", "--no-tenant.path-prefix",
        "--gateway.write-path=/api/v1/push", "--gateway.max-inflight=5", "--gateway.timeout=3s",
        "--http-address=[::1]:8080", "--http-grace-period=90s", "--log.level=debug",
        "--log.format=json", "--workers=2", "--workers.fill=3", "--batch.max-bytes=11",
        "--batch.max-decoded-bytes", "12KiB", "--batch.max-requests=13", "--batch.linger=14ms",
        "--limits.body-bytes=15KiB", "--limits.decoded-bytes=16KiB", "--limits.memory-bytes=17MiB");
    assert_int_equal(run.outcome, CONFIG_RUN);
    const struct config *config = &run.config;
    assert_string_equal(config->gateway_address.text, "https://gateway:8443/base");
    assert_string_equal(config->gateway_address.path, "/base");
    assert_true(config->gateway_address.https);
    assert_string_equal(config->tenant, "a.b_C-9");
    assert_string_equal(config->tenant_header, "X-Scope-OrgID");
    assert_false(config->tenant_path_prefix);
    assert_string_equal(config->gateway_write_path, "/api/v1/push");
    assert_int_equal(config->gateway_max_inflight, 5);
    assert_int_equal(config->gateway_timeout_us, 3000000);
    assert_string_equal(config->http_host, "::1");
    assert_int_equal(config->http_port, 8080);
    assert_int_equal(config->http_grace_period_us, 90000000);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->workers, 2);
    assert_int_equal(config->workers_fill, 3);
    assert_int_equal(config->batch_max_bytes, 11);
    assert_int_equal(config->batch_max_decoded_bytes, 12288);
    assert_int_equal(config->batch_max_requests, 13);
    assert_int_equal(config->batch_linger_us, 14000);
    assert_int_equal(config->limits_body_bytes, 15360);
    assert_int_equal(config->limits_decoded_bytes, 16384);
    assert_int_equal(config->limits_memory_bytes, 17825792);
    config_deinit(&run.config);
}

static void test_flags_of_reads_and_connections(void **state)
{
    (void)state;
    struct run run =
        RUN_WITH("--reads.max-inflight=7", "--reads.window-bytes=128KiB", "--reads.timeout=9s",
                 "--reads.forward-authorization", "--gateway.max-connection-age=10s",
                 "--limits.connections=11", "--limits.connections-per-address=12");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_int_equal(run.config.reads_max_inflight, 7);
    assert_int_equal(run.config.reads_window_bytes, 131072);
    assert_int_equal(run.config.reads_timeout_us, 9000000);
    assert_true(run.config.reads_forward_authorization);
    assert_int_equal(run.config.gateway_max_connection_age_us, 10000000);
    assert_int_equal(run.config.limits_connections, 11);
    assert_int_equal(run.config.limits_connections_per_address, 12);
    config_deinit(&run.config);
}

static void test_flags_of_tls_and_credentials(void **state)
{
    (void)state;
    struct run run = RUN_WITH(
        "--server-tls-cert=a", "--server-tls-key=b", "--server-tls-client-ca=c", "--http.config=d",
        "--gateway.client-tls-key=e", "--gateway.client-tls-cert=f",
        "--gateway.server-tls-client-ca=g", "--gateway.server-name=h",
        "--gateway.insecure-skip-verify", "--gateway.config={}", "--gateway.config-file=j");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.server_tls_cert, "a");
    assert_string_equal(run.config.server_tls_key, "b");
    assert_string_equal(run.config.server_tls_client_ca, "c");
    assert_string_equal(run.config.http_config, "d");
    assert_string_equal(run.config.gateway_client_tls_key, "e");
    assert_string_equal(run.config.gateway_client_tls_cert, "f");
    assert_string_equal(run.config.gateway_server_tls_client_ca, "g");
    assert_string_equal(run.config.gateway_server_name, "h");
    assert_true(run.config.gateway_insecure_skip_verify);
    assert_string_equal(run.config.gateway_config, "{}");
    assert_string_equal(run.config.gateway_config_file, "j");
    config_deinit(&run.config);

    run = RUN_WITH("--http.config=d", "--http.config=", "--gateway.server-name=\"\"");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_null(run.config.http_config); /* charts pass empty values for what is not set */
    assert_null(run.config.gateway_server_name);
    assert_null(run.config.gateway_config);
    assert_false(run.config.gateway_insecure_skip_verify);
    config_deinit(&run.config);
}

static void test_flags_of_the_life_of_the_process(void **state)
{
    (void)state;
    struct run run =
        RUN_WITH("--maxIdleConnsPerHost=7", "--maxConnsPerHost", "8", "--ready.gateway",
                 "--shutdown-delay=9s", "--web.disable", "--config.check");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_int_equal(run.config.max_idle_conns_per_host, 7);
    assert_int_equal(run.config.max_conns_per_host, 8);
    assert_true(run.config.ready_gateway);
    assert_int_equal(run.config.shutdown_delay_us, 9000000);
    assert_true(run.config.web_disable);
    assert_true(run.config.config_check);
    config_deinit(&run.config);

    run = RUN_WITH("--workers=1");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_int_equal(run.config.max_idle_conns_per_host, 100);
    assert_int_equal(run.config.max_conns_per_host, 0);
    assert_false(run.config.ready_gateway);
    assert_int_equal(run.config.shutdown_delay_us, 0);
    assert_false(run.config.web_disable);
    assert_false(run.config.config_check);
    assert_null(run.config.probe);
    config_deinit(&run.config);
}

/* Each source over the one below it: what is given by the flag, the environment, the file. */
static void test_the_stronger_source_wins(void **state)
{
    (void)state;
    struct folder folder;
    char flag[PATH_MAX + 32];
    folder_init(&folder);
    const char *path = folder_write(&folder, "f.yml",
                                    "gateway.address: http://file\n"
                                    "tenant: file\n"
                                    "workers: 3\n"
                                    "batch.max-requests: 4\n");
    (void)snprintf(flag, sizeof(flag), "--config.file=%s", path);
    setenv("AGENT_PROXY_TENANT", "environment", 1);
    setenv("AGENT_PROXY_WORKERS", "'2'", 1);
    struct run run = RUN("--workers=1", flag);
    if (run.outcome != CONFIG_RUN) {
        fail_msg("%s", run.error);
    }
    assert_string_equal(run.config.gateway_address.text, "http://file");
    assert_string_equal(run.config.gateway_read_address.text, "http://file");
    assert_string_equal(run.config.tenant, "environment");
    assert_int_equal(run.config.workers, 1);
    assert_int_equal(run.config.batch_max_requests, 4);
    assert_string_equal(run.config.config_file, path);
    assert_true(config_is_given(&run.config, "batch.max-requests"));
    assert_true(config_is_given(&run.config, "tenant"));
    assert_true(config_is_given(&run.config, "workers"));
    assert_false(config_is_given(&run.config, "batch.linger"));
    config_deinit(&run.config);

    setenv("AGENT_PROXY_CONFIG_FILE", path, 1); /* the file may be named there too */
    run = RUN("--tenant=flag");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.tenant, "flag");
    assert_int_equal(run.config.workers, 2);
    assert_int_equal(run.config.batch_max_requests, 4);
    config_deinit(&run.config);
    run = RUN("--gateway.address=http://a", "--config.file="); /* and be turned off */
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_int_equal(run.config.batch_max_requests, 64);
    config_deinit(&run.config);
    unsetenv("AGENT_PROXY_CONFIG_FILE");
    unsetenv("AGENT_PROXY_TENANT");
    unsetenv("AGENT_PROXY_WORKERS");
    folder_deinit(&folder);
}

static void test_mistakes_of_sources(void **state)
{
    (void)state;
    expect_error(RUN_WITH("--config.file=/nowhere/f.yml"),
                 "--config.file: /nowhere/f.yml: No such file or directory");
    setenv("AGENT_PROXY_CONFIG_FILE", "a\nb", 1);
    expect_error(RUN_WITH("--workers=1"),
                 "AGENT_PROXY_CONFIG_FILE: \"a\\nb\" has a control character");
    setenv("AGENT_PROXY_CONFIG_FILE", "/nowhere/f.yml", 1);
    expect_error(RUN_WITH("--workers=1"),
                 "--config.file: /nowhere/f.yml: No such file or directory");
    struct run run = RUN("--help"); /* to be had whatever is wrong */
    assert_int_equal(run.outcome, CONFIG_HELP);
    unsetenv("AGENT_PROXY_CONFIG_FILE");
    setenv("AGENT_PROXY_WORKERS", "many", 1);
    expect_error(RUN_WITH("--workers=1"), "AGENT_PROXY_WORKERS: \"many\" is not a whole number");
    unsetenv("AGENT_PROXY_WORKERS");
}

static void test_probe_needs_nothing_else(void **state)
{
    (void)state;
    struct run run = RUN("--probe=http://127.0.0.1:9090/-/ready");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.probe, "http://127.0.0.1:9090/-/ready");
    assert_null(run.config.tenant);
    config_deinit(&run.config);
    expect_error(RUN("--probe="), "--gateway.address: is required, and was not given");
}

static void test_reads_go_where_writes_go_unless_told(void **state)
{
    (void)state;
    struct run run = RUN("--gateway.address=https://gateway/base", "--tenant=t");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.gateway_read_address.text, "https://gateway/base");
    assert_string_equal(run.config.gateway_read_address.path, "/base");
    assert_true(run.config.gateway_read_address.https);
    config_deinit(&run.config);

    run = RUN("--gateway.address=https://gateway/base", "--tenant=t",
              "--gateway.read-address=http://unused", "--gateway.read-address='http://query:1/x/'");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.gateway_address.text, "https://gateway/base");
    assert_string_equal(run.config.gateway_read_address.text, "http://query:1/x");
    assert_string_equal(run.config.gateway_read_address.path, "/x");
    assert_false(run.config.gateway_read_address.https);
    config_deinit(&run.config);

    expect_error(RUN_WITH("--gateway.read-address=query"),
                 "--gateway.read-address: \"query\" does not begin with http:// or https://");
}

static void test_read_path_prefix_follows_the_tenants_unless_told(void **state)
{
    (void)state;

    static const struct {
        const char *tenant;
        const char *read;
        bool prefix;
    } cases[] = {
        {"--tenant.path-prefix", "auto", true},   {"--no-tenant.path-prefix", "auto", false},
        {"--tenant.path-prefix", "true", true},   {"--no-tenant.path-prefix", "true", true},
        {"--tenant.path-prefix", "false", false}, {"--no-tenant.path-prefix", "false", false}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct run run = RUN_WITH(cases[i].tenant, "--gateway.read-path-prefix", cases[i].read);
        assert_int_equal(run.outcome, CONFIG_RUN);
        assert_int_equal(run.config.gateway_read_path_prefix, cases[i].prefix);
        config_deinit(&run.config);
    }
    expect_error(RUN_WITH("--gateway.read-path-prefix=no"),
                 "--gateway.read-path-prefix: \"no\" is not one of auto, true, false");
}

static void test_levels(void **state)
{
    (void)state;

    static const struct {
        const char *word;
        enum log_level level;
    } cases[] = {{"debug", LOG_LEVEL_DEBUG},
                 {"info", LOG_LEVEL_INFO},
                 {"warn", LOG_LEVEL_WARN},
                 {"error", LOG_LEVEL_ERROR}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct run run = RUN_WITH("--log.level", cases[i].word);
        assert_int_equal(run.outcome, CONFIG_RUN);
        assert_int_equal(run.config.log_level, cases[i].level);
        config_deinit(&run.config);
    }
    expect_error(RUN_WITH("--log.level=loud"),
                 "--log.level: \"loud\" is not one of debug, info, warn, error");
    expect_error(RUN_WITH("--log.format=xml"), "--log.format: \"xml\" is not one of logfmt, json");
}

/* The command line of the manifest that is in use, with its literal quotes. */
static void test_manifest_with_literal_quotes(void **state)
{
    (void)state;
    struct run run = RUN("agent-proxy", "--gateway.address=\"http://172.16.0.1:30990\"",
                         "--tenant='member-1'", "--http-address", "\"0.0.0.0:9090\"");
    assert_int_equal(run.outcome, CONFIG_RUN);
    assert_string_equal(run.config.gateway_address.text, "http://172.16.0.1:30990");
    assert_string_equal(run.config.tenant, "member-1");
    assert_string_equal(run.config.http_host, "0.0.0.0");
    config_deinit(&run.config);
}

static void test_leading_word_is_skipped_once(void **state)
{
    (void)state;
    expect_error(RUN("agent-proxy", "agent-proxy", "--tenant=t"),
                 "\"agent-proxy\": only flags are expected, each beginning with --");
    expect_error(RUN_WITH("agent-proxy"),
                 "\"agent-proxy\": only flags are expected, each beginning with --");
    expect_error(RUN("monitoring", "--tenant=t"),
                 "\"monitoring\": only flags are expected, each beginning with --");
}

static void test_required_flags(void **state)
{
    (void)state;
    expect_error(RUN("--tenant=t"), "--gateway.address: is required, and was not given");
    expect_error(RUN("--gateway.address=http://a"), "--tenant: is required, and was not given");
    expect_error(run_words(0, NULL), "--gateway.address: is required, and was not given");
    static const char *const only_name[] = {"agent-proxy"};
    expect_error(run_words(1, only_name), "--gateway.address: is required, and was not given");
}

static void test_unknown_flag(void **state)
{
    (void)state;
    expect_error(RUN_WITH("--gateway.adress=x"),
                 "--gateway.adress: unknown flag, did you mean --gateway.address?");
    expect_error(RUN_WITH("--tenent=x"), "--tenent: unknown flag, did you mean --tenant?");
    expect_error(RUN_WITH("--http.address=:1"),
                 "--http.address: unknown flag, did you mean --http-address?");
    expect_error(RUN_WITH("--log-level=info"),
                 "--log-level: unknown flag, did you mean --log.level?");
    expect_error(RUN_WITH("--limits.bod-bytes=1"), /* the nearest of several */
                 "--limits.bod-bytes: unknown flag, did you mean --limits.body-bytes?");
    expect_error(RUN_WITH("-v"), "-v: unknown flag; --help lists them");
}

static void test_tenant(void **state)
{
    (void)state;
    char name[80] = {0};
    static const char *const good[] = {"a", "A9", "...", ".a", "a..b", "-", "_", "default-tenant"};
    static const char *const bad[] = {"a/b", "a b", "a%2f", "\xc3\xa4", "a\n", "a\\b", "a?", "\"a"};
    for (size_t i = 0; i < COUNT(good); i++) {
        expect_run(RUN_WITH("--tenant", good[i]));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct run run = RUN_WITH("--tenant", bad[i]);
        assert_int_equal(run.outcome, CONFIG_ERROR);
        assert_non_null(strstr(run.error, "has a character that is not a letter"));
    }
    expect_error(RUN_WITH("--tenant=."), "--tenant: \".\" would change the path of a request");
    expect_error(RUN_WITH("--tenant=.."), "--tenant: \"..\" would change the path of a request");
    expect_error(RUN_WITH("--tenant="), "--tenant: \"\" is not 1 to 64 characters long");
    memset(name, 'n', 64);
    expect_run(RUN_WITH("--tenant", name));
    name[64] = 'n';
    struct run run = RUN_WITH("--tenant", name);
    assert_int_equal(run.outcome, CONFIG_ERROR);
    assert_non_null(strstr(run.error, "is not 1 to 64 characters long"));
}

static void test_tenant_header(void **state)
{
    (void)state;
    static const char *const good[] = {"THANOS-TENANT", "X-Scope-OrgID", "cluster",
                                       "!#$%&'*+-.^_`|~9a"};
    static const char *const bad[] = {"a b",      "a:",  "a:b",   "a\r\nX", "(a)", "a,b",
                                      "\xc3\xa4", "a/b", "a=b",   "a@b",    "{a}", "a\"b",
                                      "a\\b",     "[a]", "a\x7f", "a;b",    "<a>", "a?b"};
    static const char *const managed[] = {"Host",
                                          "content-length",
                                          "CONTENT-TYPE",
                                          "Connection",
                                          "transfer-encoding",
                                          "Content-Encoding",
                                          "User-Agent",
                                          "Authorization",
                                          "te",
                                          "Expect",
                                          "Accept",
                                          "X-Prometheus-Remote-Write-Version"};
    for (size_t i = 0; i < COUNT(good); i++) {
        expect_run(RUN_WITH("--tenant.header", good[i]));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct run run = RUN_WITH("--tenant.header", bad[i]);
        assert_int_equal(run.outcome, CONFIG_ERROR);
        assert_non_null(strstr(run.error, "has a character that no header name may hold"));
    }
    for (size_t i = 0; i < COUNT(managed); i++) {
        struct run run = RUN_WITH("--tenant.header", managed[i]);
        assert_int_equal(run.outcome, CONFIG_ERROR);
        assert_non_null(strstr(run.error, "is a header that the proxy itself sets"));
    }
    expect_error(RUN_WITH("--tenant.header="),
                 "--tenant.header: \"\" is not 1 to 128 characters long");
}

static void test_addresses_and_paths(void **state)
{
    (void)state;
    expect_error(RUN_WITH("--gateway.address=gateway:9090"),
                 "--gateway.address: \"gateway:9090\" does not begin with http:// or https://");
    expect_error(RUN_WITH("--gateway.address="),
                 "--gateway.address: \"\" does not begin with http:// or https://");
    expect_error(RUN_WITH("--http-address=9090"),
                 "--http-address: \"9090\" has no port; the form is host:port or :port");
    expect_error(RUN_WITH("--gateway.write-path=api"),
                 "--gateway.write-path: \"api\" does not begin with /");
    expect_error(RUN_WITH("--gateway.write-path=/t/../u"),
                 "--gateway.write-path: \"/t/../u\" has a . or .. segment in its path");
    /* A repeated one replaces the first without a leak. */
    expect_run(RUN_WITH("--gateway.address=http://b", "--http-address=:1", "--http-address=:2"));
}

/* Each number at its bounds and one beyond. */
static void test_bounds(void **state)
{
    (void)state;

    static const struct {
        const char *flag;
        const char *min;
        const char *max;
        const char *below; /* NULL: nothing is below */
        const char *above;
    } cases[] = {
        {"--gateway.max-inflight", "1", "1024", "0", "1025"},
        {"--gateway.timeout", "1ms", "1h", "999us", "3600001ms"},
        {"--http-grace-period", "0s", "1h", NULL, "61m"},
        {"--workers", "0", "64", NULL, "65"},
        {"--workers.fill", "0", "100000", NULL, "100001"},
        {"--batch.max-bytes", "1", "1GiB", "0", "1073741825"},
        {"--batch.max-decoded-bytes", "1", "1GiB", "0", "1073741825"},
        {"--batch.max-requests", "1", "4096", "0", "4097"},
        {"--batch.linger", "0", "10s", NULL, "10001ms"},
        {"--limits.body-bytes", "1KiB", "1GiB", "1023", "1073741825"},
        {"--limits.decoded-bytes", "1KiB", "1GiB", "1023", "1073741825"},
        {"--limits.memory-bytes", "0", "1024GiB", NULL, "1025GiB"},
        {"--limits.connections", "1", "1000000", "0", "1000001"},
        {"--limits.connections-per-address", "1", "1000000", "0", "1000001"},
        {"--gateway.max-connection-age", "1s", "1d", "999ms", "25h"},
        {"--reads.max-inflight", "1", "4096", "0", "4097"},
        {"--reads.window-bytes", "64KiB", "64MiB", "65535", "65MiB"},
        {"--reads.timeout", "1ms", "1d", "0s", "25h"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_run(RUN_WITH(cases[i].flag, cases[i].min));
        expect_run(RUN_WITH(cases[i].flag, cases[i].max));
        struct run run = RUN_WITH(cases[i].flag, cases[i].above);
        assert_int_equal(run.outcome, CONFIG_ERROR);
        assert_non_null(strstr(run.error, "is not between"));
        assert_memory_equal(run.error, cases[i].flag, strlen(cases[i].flag));
        if (cases[i].below != NULL) {
            run = RUN_WITH(cases[i].flag, cases[i].below);
            assert_int_equal(run.outcome, CONFIG_ERROR);
            assert_non_null(strstr(run.error, "is not between"));
        }
    }
}

static void test_help_and_version(void **state)
{
    (void)state;
    static const struct config untouched;
    struct run run = RUN("--help");
    assert_int_equal(run.outcome, CONFIG_HELP);
    assert_memory_equal(&run.config, &untouched, sizeof(untouched));
    assert_int_equal(RUN("--version").outcome, CONFIG_VERSION);
    assert_int_equal(RUN("agent-proxy", "--version").outcome, CONFIG_VERSION);
    assert_int_equal(RUN("--tenant=t", "--help").outcome, CONFIG_HELP);
    assert_int_equal(RUN("--version", "--help").outcome, CONFIG_HELP);
    expect_error(RUN("--helpp"), "--helpp: unknown flag, did you mean --help?");
}

static void test_help_text(void **state)
{
    (void)state;
    static const char *const flags[] = {"--gateway.address=URL",
                                        "--tenant=NAME",
                                        "--tenant.header=NAME",
                                        "--[no-]tenant.path-prefix",
                                        "--gateway.write-path=PATH",
                                        "--http-address=ADDRESS",
                                        "--http-grace-period=TIME",
                                        "--log.level=LEVEL",
                                        "--log.format=FORMAT",
                                        "--workers=N",
                                        "--workers.fill=N",
                                        "--gateway.max-inflight=N",
                                        "--gateway.timeout=TIME",
                                        "--batch.max-bytes=SIZE",
                                        "--batch.max-decoded-bytes=SIZE",
                                        "--batch.max-requests=N",
                                        "--batch.linger=TIME",
                                        "--limits.body-bytes=SIZE",
                                        "--limits.decoded-bytes=SIZE",
                                        "--limits.memory-bytes=SIZE",
                                        "--limits.connections=N",
                                        "--limits.connections-per-address=N",
                                        "--gateway.max-connection-age=TIME",
                                        "--gateway.read-address=URL",
                                        "--gateway.read-path-prefix=auto|true|false",
                                        "--reads.max-inflight=N",
                                        "--reads.window-bytes=SIZE",
                                        "--reads.timeout=TIME",
                                        "--[no-]reads.forward-authorization",
                                        "--help",
                                        "--version"};
    int ends[2];
    static char text[65536];
    assert_int_equal(pipe(ends), 0);
    config_print_help(ends[1]);
    close(ends[1]);
    size_t size = 0;
    ssize_t got;
    while ((got = read(ends[0], text + size, sizeof(text) - 1 - size)) > 0) {
        size += (size_t)got;
    }
    close(ends[0]);
    assert_memory_equal(text, "Usage: agent-proxy ", 19);
    assert_int_equal(text[size - 1], '\n');
    for (size_t i = 0; i < COUNT(flags); i++) {
        char row[64];
        int bytes = snprintf(row, sizeof(row), "\n  %s", flags[i]);
        const char *found = strstr(text, row);
        if (found == NULL || (found[bytes] != ' ' && found[bytes] != '\n')) {
            fail_msg("missing: %s", flags[i]);
        }
    }
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_flag_reaches_its_field),
        cmocka_unit_test(test_flags_of_reads_and_connections),
        cmocka_unit_test(test_flags_of_tls_and_credentials),
        cmocka_unit_test(test_flags_of_the_life_of_the_process),
        cmocka_unit_test(test_the_stronger_source_wins),
        cmocka_unit_test(test_mistakes_of_sources),
        cmocka_unit_test(test_probe_needs_nothing_else),
        cmocka_unit_test(test_reads_go_where_writes_go_unless_told),
        cmocka_unit_test(test_read_path_prefix_follows_the_tenants_unless_told),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_manifest_with_literal_quotes),
        cmocka_unit_test(test_leading_word_is_skipped_once),
        cmocka_unit_test(test_required_flags),
        cmocka_unit_test(test_unknown_flag),
        cmocka_unit_test(test_tenant),
        cmocka_unit_test(test_tenant_header),
        cmocka_unit_test(test_addresses_and_paths),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_help_and_version),
        cmocka_unit_test(test_help_text),
    };
    return cmocka_run_group_tests_name("config/config", tests, NULL, NULL);
}
