// ecs-host without a kernel to set up: configuration, rules, other programs, Docker's answer, what the kernel tells.
#include "common/util.h"
#include "host/changes.h"
#include "host/config.h"
#include "host/docker_bridge.h"
#include "host/program.h"
#include "host/rules.h"
#include "test_slow.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

static char dir[] = "/tmp/ecsd-test-host-XXXXXX";

// --- configuration ---

static const char *environment[2][2];

static const char *get(const char *name)
{
	for (size_t i = 0; environment[i][0]; i++)
		if (strcmp(environment[i][0], name) == 0)
			return environment[i][1];
	return NULL;
}

static void load(struct host_config *config, const char *name, const char *value)
{
	environment[0][0] = value ? name : NULL;
	environment[0][1] = value;
	host_config_load(config, get);
}

static void configuration_defaults(void **state)
{
	(void)state;
	struct host_config config;

	load(&config, NULL, NULL);
	assert_true(config.localhost_filter && config.introspection_filter && !config.block_imds);
	assert_string_equal(config.docker_socket, "/var/run/docker.sock");
	assert_int_equal(config.log_level, LOG_INFO);
	assert_true(!config.log_json && config.clock_scale == 1);
	host_config_free(&config);
}

static void configuration_booleans(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool skip;
	} cases[] = {{"true", true},     {"1", true},   {" T ", true},       {"\"true\"", true}, {"'1'", true},
		     {"false", false},   {"0", false},  {"", false},         {"yes", false},     {"\"", false},
		     {"\"true'", false}, {"''", false}, {"\"\"1\"\"", false}};
	struct host_config config;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		load(&config, "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER", cases[i].text);
		assert_int_equal(config.localhost_filter, !cases[i].skip);
		host_config_free(&config);
		load(&config, "ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS", cases[i].text);
		assert_int_equal(config.introspection_filter, !cases[i].skip);
		host_config_free(&config);
		load(&config, "ECSD_BRIDGE_BLOCK_IMDS", cases[i].text);
		assert_int_equal(config.block_imds, cases[i].skip);
		host_config_free(&config);
	}
}

static void configuration_others(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value;
		enum log_level level;
		const char *docker;
		bool json;
		double scale;
	} cases[] = {
		{"DOCKER_HOST", "unix:///run/d.sock", LOG_INFO, "/run/d.sock", false, 1},
		{"DOCKER_HOST", "tcp://127.0.0.1:2375", LOG_INFO, NULL, false, 1},
		{"DOCKER_HOST", "unix://relative", LOG_INFO, NULL, false, 1},
		{"ECS_LOGLEVEL", "DEBUG", LOG_DEBUG, "/var/run/docker.sock", false, 1},
		{"ECS_LOGLEVEL", "loud", LOG_INFO, "/var/run/docker.sock", false, 1},
		{"ECS_LOG_OUTPUT_FORMAT", "json", LOG_INFO, "/var/run/docker.sock", true, 1},
		{"ECS_LOG_OUTPUT_FORMAT", "xml", LOG_INFO, "/var/run/docker.sock", false, 1},
		{"ECSD_CLOCK_SCALE", "60", LOG_INFO, "/var/run/docker.sock", false, 60},
		{"ECSD_CLOCK_SCALE", "-1", LOG_INFO, "/var/run/docker.sock", false, 1},
		{"ECS_EXTERNAL", "true", LOG_INFO, "/var/run/docker.sock", false, 1},
	};
	struct host_config config;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		load(&config, cases[i].name, cases[i].value);
		if (config.log_level != cases[i].level || !str_equal(config.docker_socket, cases[i].docker) ||
		    config.log_json != cases[i].json || config.clock_scale != cases[i].scale)
			fail_msg("case %zu", i);
		host_config_free(&config);
	}
}

static void write_config(const char *path, const char *text)
{
	assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
}

// The files are read, the strongest last, and again when they have changed.
static void configuration_files(void **state)
{
	(void)state;
	_cleanup_free_ char *strong = xasprintf("%s/strong", dir), *weak = xasprintf("%s/weak", dir),
			    *paths = xasprintf("%s:%s", weak, strong);
	struct host_config_files files;
	struct host_config config;

	assert_int_equal(setenv("ECSD_CONFIG_FILES", paths, 1), 0);
	write_config(weak, "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER=true\nECSD_BRIDGE_BLOCK_IMDS=true\n");
	host_config_read(&files, &config);
	assert_true(!config.localhost_filter && config.block_imds);
	assert_false(host_config_reread(&files, &config));
	write_config(strong, "ECS_CLUSTER=x\n");
	assert_false(host_config_reread(&files, &config)); // nothing that counts here
	write_config(strong, "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER='false'\n");
	assert_true(host_config_reread(&files, &config));
	assert_true(config.localhost_filter && config.block_imds);
	assert_false(host_config_reread(&files, &config));
	assert_int_equal(unlink(weak), 0);
	assert_true(host_config_reread(&files, &config));
	assert_true(config.localhost_filter && !config.block_imds);
	assert_int_equal(unlink(strong), 0);
	assert_false(host_config_reread(&files, &config));
	config_files_free(&files.files);
	host_config_free(&config);
}

// --- rules ---

#define CREDENTIALS_BRIDGE \
	"iptables -t nat -A PREROUTING -p tcp -d 169.254.170.2 --dport 80 -j DNAT --to-destination 127.0.0.1:51679"
#define LOCALHOST                                                                           \
	"iptables -t filter -I INPUT --dst 127.0.0.0/8 ! --src 127.0.0.0/8 -m conntrack ! " \
	"--ctstate RELATED,ESTABLISHED,DNAT -j DROP"
#define INTROSPECTION "tables -t filter -I INPUT -p tcp --dport 51678 ! -i lo -j DROP"
#define INTROSPECTION_BRIDGE "tables -t filter -I INPUT -p tcp --dport 51678 -i br0 -j ACCEPT"
#define CREDENTIALS_HOST "iptables -t nat -A OUTPUT -p tcp -d 169.254.170.2 --dport 80 -j REDIRECT --to-ports 51679"

// init-and-host-setup.md §4.1, and ours.
static const struct {
	enum rule_id id;
	const char *text[IP_FAMILIES];
} expected[] = {
	{RULE_CREDENTIALS_BRIDGE, {CREDENTIALS_BRIDGE}},
	{RULE_LOCALHOST, {LOCALHOST}},
	{RULE_INTROSPECTION, {"ip" INTROSPECTION, "ip6" INTROSPECTION}},
	{RULE_INTROSPECTION_BRIDGE, {"ip" INTROSPECTION_BRIDGE, "ip6" INTROSPECTION_BRIDGE}},
	{RULE_CREDENTIALS_HOST, {CREDENTIALS_HOST}},
	{RULE_IMDS,
	 {"iptables -t mangle -I FORWARD -d 169.254.169.254/32 -j DROP",
	  "ip6tables -t mangle -I FORWARD -d fd00:ec2::254/128 -j DROP"}},
};

static void rule_texts(void **state)
{
	(void)state;
	assert_int_equal(ARRAY_SIZE(expected), RULES);
	for (size_t i = 0; i < RULES; i++)
		for (enum ip_family family = 0; family < IP_FAMILIES; family++) {
			_cleanup_free_ char *text = rule_text(expected[i].id, family, "br0");
			if (!str_equal(text, expected[i].text[family]))
				fail_msg("rule %zu, family %d: %s", i, (int)family, text ? text : "(none)");
		}
	assert_null(rule_text(RULE_INTROSPECTION_BRIDGE, IP_V4, NULL));
}

static void rule_commands(void **state)
{
	(void)state;
	static const struct {
		enum rule_id id;
		enum rule_action action;
		const char *verb;
	} cases[] = {
		{RULE_CREDENTIALS_HOST, RULE_CHECK, "-C"},  {RULE_CREDENTIALS_HOST, RULE_ADD, "-A"},
		{RULE_CREDENTIALS_HOST, RULE_DELETE, "-D"}, {RULE_LOCALHOST, RULE_CHECK, "-C"},
		{RULE_LOCALHOST, RULE_ADD, "-I"},           {RULE_LOCALHOST, RULE_DELETE, "-D"},
	};
	const char *argv[RULE_ARGUMENTS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(rule_command(cases[i].id, IP_V4, cases[i].action, "/sbin/iptables", NULL, argv));
		assert_string_equal(argv[0], "/sbin/iptables");
		assert_string_equal(argv[1], "-w");
		assert_string_equal(argv[2], IPTABLES_WAIT_S);
		assert_string_equal(argv[5], cases[i].verb);
	}
	assert_false(rule_command(RULE_LOCALHOST, IP_V6, RULE_CHECK, "x", "br0", argv));
}

static void rule_choice(void **state)
{
	(void)state;
	const struct host_config all = {.localhost_filter = true, .introspection_filter = true, .block_imds = true},
				 none = {0};
	static const bool always[RULES] = {[RULE_CREDENTIALS_BRIDGE] = true, [RULE_CREDENTIALS_HOST] = true};

	for (enum rule_id id = 0; id < RULES; id++)
		for (enum ip_family family = 0; family < IP_FAMILIES; family++) {
			assert_int_equal(rule_wanted(id, family, &all, "br0"), expected[id].text[family] != NULL);
			assert_int_equal(rule_wanted(id, family, &none, "br0"), always[id] && family == IP_V4);
		}
	assert_false(rule_wanted(RULE_INTROSPECTION_BRIDGE, IP_V4, &all, NULL));
	assert_true(rule_wanted(RULE_INTROSPECTION, IP_V4, &all, NULL));
}

static void rule_order(void **state)
{
	(void)state;
	for (enum rule_id a = 0; a < RULES; a++)
		for (enum rule_id b = 0; b < RULES; b++) {
			bool both_input = a >= RULE_LOCALHOST && a <= RULE_INTROSPECTION_BRIDGE &&
					  b >= RULE_LOCALHOST && b <= RULE_INTROSPECTION_BRIDGE;
			assert_int_equal(rule_above(a, b), both_input && a > b);
		}
}

static void bridge_names(void **state)
{
	(void)state;
	static const char
		*const good[] = {"docker0", "br-0a1b2c3d4e5f", "a", "A_b.c", "0"},
		       *const bad[] = {"",    "docker+",         "!", "-i", ".", "..", "a/b", "a b", "a\n", "+", "a:1",
				       "br*", "sixteen-letters-"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(bridge_name_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(bridge_name_valid(bad[i]));
}

// --- other programs ---

static int shell(const char *script, unsigned limit_ms, char output[PROGRAM_OUTPUT_MAX], struct error *err)
{
	return program_run((const char *const[]){"/bin/sh", "-c", script, NULL}, limit_ms, output, err);
}

static void programs(void **state)
{
	(void)state;
	static const struct {
		const char *script, *output;
		int code;
	} cases[] = {
		{"exit 0", "", 0},
		{"exit 3", "", 3},
		{"echo out; echo err >&2; exit 1", "out err", 1},
		{"printf '  a\\nb  \\n'", "a b", 0},
		{"cat", "", 0}, // nothing to be read
		{"for fd in 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$fd && echo $fd; done", "", 1},
		{"env | grep -vE '^(PATH|LC_ALL|PWD|SHLVL|OLDPWD|_)='", "", 1}, // nothing of ours
		{"trap", "", 0},                                                // no signal is ignored
	};
	char output[PROGRAM_OUTPUT_MAX];
	struct error err;

	assert_int_equal(setenv("ECSD_TEST_SECRET", "x", 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = shell(cases[i].script, 60000, output, &err);
		if (r != cases[i].code || strcmp(output, cases[i].output) != 0)
			fail_msg("case %zu: %d \"%s\"", i, r, output);
	}
	assert_int_equal(shell("head -c 100000 /dev/zero | tr '\\0' x", 60000, output, &err), 0);
	assert_int_equal(strlen(output), PROGRAM_OUTPUT_MAX - 1);
}

static void programs_that_fail(void **state)
{
	(void)state;
	char output[PROGRAM_OUTPUT_MAX];
	struct error err;

	if (!under_valgrind()) { // whose posix_spawn() does not hear of it
		assert_int_equal(program_run((const char *const[]){"/nowhere/iptables", NULL}, 60000, output, &err),
				 -ENOENT);
		assert_non_null(strstr(err.message, "/nowhere/iptables"));
	}
	assert_int_equal(shell("kill -SEGV $$", 60000, output, &err), -EINTR);
	assert_non_null(strstr(err.message, "signal 11"));
	assert_int_equal(shell("echo x; sleep 1000", 50, output, &err), -ETIMEDOUT);
	assert_string_equal(output, "x");
	assert_int_equal(shell("exec >&- 2>&-; sleep 1000", 50, output, &err), -ETIMEDOUT);
	assert_int_equal(shell("sleep 1000 & wait", 50, output, &err), -ETIMEDOUT); // its child ends too, or we hang
}

static void finding_programs(void **state)
{
	(void)state;
	_cleanup_free_ char *before = xstrdup(getenv("PATH")), *file = xasprintf("%s/iptables-of-test", dir);
	_cleanup_free_ char *path = xasprintf("relative::%s", dir);

	assert_int_equal(setenv("PATH", path, 1), 0);
	assert_null(executable_find("iptables-of-test"));
	assert_int_equal(write_file_atomic(file, "", 0, 0644), 0);
	assert_null(executable_find("iptables-of-test")); // not executable
	assert_int_equal(chmod(file, 0755), 0);
	_cleanup_free_ char *found = executable_find("iptables-of-test");
	assert_string_equal(found, file);
	unsetenv("PATH");
	_cleanup_free_ char *system = executable_find("ldconfig");
	assert_string_equal(system, "/usr/sbin/ldconfig");
	assert_int_equal(setenv("PATH", before, 1), 0);
}

// --- Docker ---

#define OK "HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n\r\n"
#define NETWORK(name, default_bridge)                                                          \
	"{\"Name\":\"bridge\",\"Driver\":\"bridge\",\"Options\":{\"com.docker.network.bridge." \
	"default_bridge\":\"" default_bridge "\",\"com.docker.network.bridge.name\":\"" name "\"}}"

static void docker_answers(void **state)
{
	(void)state;
	static const struct {
		const char *answer, *name, *error;
	} cases[] = {
		{OK "[" NETWORK("docker0", "true") "]", "docker0", NULL},
		{OK "[" NETWORK("br-1", "false") "," NETWORK("br0", "true") "]\n", "br0", NULL},
		{OK "[{\"Options\":null},{\"Options\":{}},{},null,7," NETWORK("br0", "true") "]", "br0", NULL},
		{OK "[]", "", NULL},
		{OK "[" NETWORK("br-1", "false") "]", "", NULL},
		{OK "[" NETWORK("docker+", "true") "]", NULL, "called \"docker+\""},
		{OK "[" NETWORK("", "true") "]", NULL, "called \"\""},
		{OK "[{\"Options\":{\"com.docker.network.bridge.default_bridge\":\"true\"}}]", NULL, "called \"\""},
		{OK "{}", NULL, "no list"},
		{OK "null", NULL, "null where a value is expected"},
		{OK "[", NULL, "invalid JSON"},
		{OK "", NULL, "invalid JSON"},
		{"HTTP/1.0 500 Internal Server Error\r\n\r\n{\"message\":\"x\"}", NULL, "500 Internal Server Error"},
		{"HTTP/1.0 200 OK\r\n", NULL, "does not speak HTTP"},
		{"HTTP/1.0\r\n\r\n[]", NULL, "does not speak HTTP"},
		{"", NULL, "does not speak HTTP"},
		{"SSH-2.0-OpenSSH 9\r\n\r\n", NULL, "does not speak HTTP"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char name[IF_NAMESIZE] = "before";
		struct error err = {0};
		int r = docker_bridge_parse(cases[i].answer, strlen(cases[i].answer), name, &err);
		if (cases[i].name ? r != 0 || strcmp(name, cases[i].name) != 0
				  : r >= 0 || strcmp(name, "before") != 0 || !strstr(err.message, cases[i].error))
			fail_msg("case %zu: %d \"%s\" %s", i, r, name, err.message);
	}
}

// --- what the kernel tells ---

struct message {
	struct nlmsghdr header;
	struct nfgenmsg nf;
};

static struct message message(unsigned type, unsigned char family, unsigned subsystem)
{
	return (struct message){
		.header = {.nlmsg_len = sizeof(struct message), .nlmsg_type = (unsigned short)(subsystem << 8 | type)},
		.nf = {.nfgen_family = family}};
}

static void changes(void **state)
{
	(void)state;
	static const struct {
		unsigned type;
		unsigned char family;
		unsigned subsystem;
		bool matters;
	} cases[] = {
		{NFT_MSG_DELRULE, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES, true},
		{NFT_MSG_DELRULE, NFPROTO_IPV6, NFNL_SUBSYS_NFTABLES, true},
		{NFT_MSG_DELCHAIN, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES, true},
		{NFT_MSG_DELTABLE, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES, true},
		{NFT_MSG_DELRULE, NFPROTO_INET, NFNL_SUBSYS_NFTABLES, false},
		{NFT_MSG_NEWRULE, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES, false},
		{NFT_MSG_NEWGEN, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, false},
		{NFT_MSG_DELRULE, NFPROTO_IPV4, NFNL_SUBSYS_IPSET, false},
	};
	struct message two[] = {message(NFT_MSG_NEWRULE, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES),
				message(NFT_MSG_DELRULE, NFPROTO_IPV4, NFNL_SUBSYS_NFTABLES)};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct message one = message(cases[i].type, cases[i].family, cases[i].subsystem);
		if (changes_matter(&one, sizeof(one)) != cases[i].matters)
			fail_msg("case %zu", i);
	}
	assert_true(changes_matter(two, sizeof(two)));
	for (size_t len = 0; len < sizeof(two); len++) // cut short
		assert_false(changes_matter(two, len));
	two[0].header.nlmsg_len = 3;
	assert_false(changes_matter(two, sizeof(two)));
	two[0].header.nlmsg_len = UINT32_MAX;
	assert_false(changes_matter(two, sizeof(two)));
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	static const char *const names[] = {"strong", "weak", "iptables-of-test"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_defaults),
		cmocka_unit_test(configuration_booleans),
		cmocka_unit_test(configuration_others),
		cmocka_unit_test(configuration_files),
		cmocka_unit_test(rule_texts),
		cmocka_unit_test(rule_commands),
		cmocka_unit_test(rule_choice),
		cmocka_unit_test(rule_order),
		cmocka_unit_test(bridge_names),
		cmocka_unit_test(programs),
		cmocka_unit_test(programs_that_fail),
		cmocka_unit_test(finding_programs),
		cmocka_unit_test(docker_answers),
		cmocka_unit_test(changes),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
