// Tags: templates of Docker's documentation and tests, and the language as Go's text/template has it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/util.h"
#include "logging/tag.h"

#define ID "abcdef01234567890abcdef01234567890abcdef01234567890abcdef0123456"
#define IMAGE "sha256:582c496ccf79d8aa6f8203a79d32aaf7ffd8b13362c60a701a2f9ac64886c93d"

static const char description[] =
	"{\"Config\":{\"tag\":\"x\",\"labels\":\"com.x/"
	"a,b\",\"env\":\"ENVA\",\"labels-regex\":\"^z\"},\"ContainerID\":\"" ID
	"\",\"ContainerName\":\"/test-container\",\"ContainerEntrypoint\":\"/bin/sh\","
	"\"ContainerArgs\":[\"-c\",\"hello \\\"w\\\"\"],\"ContainerImageID\":\"" IMAGE "\","
	"\"ContainerImageName\":\"docker.io/library/hello-world:alpine\","
	"\"ContainerCreated\":\"2024-01-02T03:04:05.678Z\",\"ContainerEnv\":[\"ENVA=1\",\"X=a=b\",\"NOEQ\",\"ENVA=2\"],"
	"\"ContainerLabels\":{\"b\":\"vb <&>\",\"com.x/a\":\"va\\t'\",\"zz\":\"\u00e9\"},\"LogPath\":\"\","
	"\"DaemonName\":\"docker\"}";

static struct log_info info;

static int setup(void **state)
{
	struct error err = {0};
	_cleanup_json_ json_object *object = json_parse(description, strlen(description), &err);

	(void)state;
	return log_info_decode(object, &info, &err);
}

static int teardown(void **state)
{
	(void)state;
	log_info_free(&info);
	return 0;
}

// What Go gives for each.
static void test_rendered(void **state)
{
	static const struct {
		const char *template, *tag;
	} cases[] = {
		{"{{.ID}}", "abcdef012345"},
		{"{{.ImageName}}/{{.Name}}/{{.ID}}",
		 "docker.io/library/hello-world:alpine/test-container/abcdef012345"},
		{"{{.FullID}} {{.ImageID}} {{.ImageFullID}} {{.Command}} {{.Hostname}} {{.DaemonName}}",
		 "abcdef01234567890abcdef01234567890abcdef01234567890abcdef0123456 582c496ccf79 "
		 "sha256:582c496ccf79d8aa6f8203a79d32aaf7ffd8b13362c60a701a2f9ac64886c93d /bin/sh -c hello \"w\" "
		 "myhost docker"},
		{"{{.ContainerName}} {{.ContainerEntrypoint}} {{.ContainerArgs}} {{.ContainerCreated}} "
		 "{{.ContainerEnv}} {{.ContainerLabels}} {{.Config}} [{{.LogPath}}]",
		 "/test-container /bin/sh [-c hello \"w\"] 2024-01-02 03:04:05.678 +0000 UTC [ENVA=1 X=a=b NOEQ "
		 "ENVA=2] map[b:vb <&> com.x/a:va\t' zz:\u00e9] map[env:ENVA labels:com.x/a,b labels-regex:^z tag:x] "
		 "[]"},
		{"{{(.ExtraAttributes nil).ENVA}} {{(.ExtraAttributes nil).nope}} {{(.ExtraAttributes nil).zz}}",
		 "2 <no value> \u00e9"},
		{"{{.ExtraAttributes nil}}", "map[ENVA:2 b:vb <&> com.x/a:va\t' zz:\u00e9]"},
		{"{{.ContainerLabels.b}} {{.ContainerLabels.nope}} {{.ContainerLabels.nope.more}}",
		 "vb <&> <no value> <no value>"},
		{"{{index .ContainerLabels \"com.x/a\"}}{{index .ContainerLabels \"x\"}}|", "va\t'|"},
		{"{{json .ContainerLabels}} {{json .ContainerArgs}} {{json .ContainerCreated}} {{json \"<a>\"}} {{json "
		 "5}} {{json true}} {{json nil}} {{json .ContainerLabels.nope}}",
		 "{\"b\":\"vb <&>\",\"com.x/a\":\"va\\t'\",\"zz\":\"\u00e9\"} [\"-c\",\"hello \\\"w\\\"\"] "
		 "\"2024-01-02T03:04:05.678Z\" \"<a>\" 5 true null null"},
		{"{{split .ImageName \"/\"}} {{join (split .ImageName \"/\") \"-\"}} {{split \"\" \",\"}}|{{len (split "
		 "\"\" \"\")}} {{split \"abc\" \"\"}} {{index (split .ImageName \":\") 1}}",
		 "[docker.io library hello-world:alpine] docker.io-library-hello-world:alpine []|0 [a b c] alpine"},
		{"{{title \"hello wORLD-foo_bar x1y\"}} {{lower \"ABC\"}} {{upper \"abc\"}} [{{pad \"x\" 2 3}}] [{{pad "
		 "\"\" 2 3}}] {{truncate .FullID 4}} {{truncate \"ab\" 5}} {{truncate \"ab\" 2}}",
		 "Hello WORLD-Foo_bar X1y abc ABC [  x   ] [] abcd ab ab"},
		{"{{printf \"%s-%v-%d-%q\" \"a\" .ContainerArgs 5 \"q\\\"\\n\"}} {{printf "
		 "\"%5s|%-5s|%.2s|%05d|%5d|%-5d|%%\" \"ab\" \"ab\" \"abcd\" 42 42 42}}",
		 "a-[-c hello \"w\"]-5-\"q\\\"\\n\"    ab|ab   |ab|00042|   42|42   |%"},
		{"{{printf \"%s\" .ContainerArgs}} {{printf \"%q\" .ContainerArgs}} {{printf \"%v\" .ContainerLabels}} "
		 "{{printf \"%v\" nil}} {{printf \"%v\" true}} {{printf \"%4v|\" true}}{{printf \"%3s\" "
		 ".ContainerArgs}}",
		 "[-c hello \"w\"] [\"-c\" \"hello \\\"w\\\"\"] map[b:vb <&> com.x/a:va\t' zz:\u00e9] <nil> true "
		 "true|[ -c hello \"w\"]"},
		{"{{len .Name}} {{len .ContainerLabels}} {{len .ContainerArgs}}", "14 3 2"},
		{"{{if .LogPath}}a{{else}}b{{end}}{{if eq .Name \"test-container\"}}yes{{else if true}}no{{end}}{{if "
		 "false}}x{{else if .Name}}y{{else}}z{{end}}",
		 "byesy"},
		{"{{with .Name}}{{.}}{{end}} {{with .LogPath}}x{{else}}{{.DaemonName}}{{end}} {{with $x := "
		 ".Name}}{{$x}}{{$.ID}}{{end}}",
		 "test-container docker test-containerabcdef012345"},
		{"{{range .ContainerArgs}}<{{.}}>{{end}} {{range $i, $e := .ContainerArgs}}{{$i}}={{$e}};{{end}} "
		 "{{range $k, $v := .ContainerLabels}}{{$k}}={{$v}};{{end}} {{range "
		 ".ContainerLabels.nope}}x{{else}}none{{end}}",
		 "<-c><hello \"w\"> 0=-c;1=hello \"w\"; b=vb <&>;com.x/a=va\t';zz=\u00e9; none"},
		{"a {{- /* c */ -}} b {{- .ID -}}   c {{/* x */}}d", "ababcdef012345c d"},
		{"{{$a := \"x\"}}{{$a}}{{$a = \"y\"}}{{$a}}{{if true}}{{$a = \"z\"}}{{$b := 1}}{{$b}}{{end}}{{$a}}",
		 "xy1z"},
		{"{{eq 1 1}} {{eq 1 2 1}} {{ne \"a\" \"b\"}} {{lt 1 2}} {{le \"a\" \"a\"}} {{gt 2 1}} {{ge \"a\" "
		 "\"b\"}} {{not true}} {{and 1 0}} {{or 0 \"x\"}} {{and true \"y\" 3}} {{eq .ContainerLabels.nope "
		 "\"a\"}} {{eq .ContainerLabels.nope .ContainerLabels.nada}}",
		 "true true true true true true false false 0 x 3 false true"},
		{"{{slice \"abcdef\" 1 3}} {{slice .ContainerArgs 1}} {{slice \"abc\"}} {{index \"abc\" 1}} {{index "
		 ".ContainerArgs 0 0}}",
		 "bc [hello \"w\"] abc 98 45"},
		{"{{print 1 2 \"a\" 3 4}}|{{println \"a\" 1}}|{{html \"<a href='x'>&\\\"\"}} {{js \"it's <b> \\\"q\\\" "
		 "= &\"}} {{urlquery \"a b/c?d=\u00e9~-_.\"}} {{html 1 2 nil}}",
		 "1 2a3 4|a 1\n|&lt;a href=&#39;x&#39;&gt;&amp;&#34; it\\'s \\u003Cb\\u003E \\\"q\\\" \\u003D \\u0026 "
		 "a+b%2Fc%3Fd%3D%C3%A9~-_. 1 2&lt;no value&gt;"},
		{"{{.Name | upper | lower}} {{(\"x\")}} {{(printf \"%s\" .Name) | len}}", "test-container x 14"},
		{"{{'a'}} {{'\\n'}} {{0x1F}} {{-3}} {{+4}} {{0b11}} {{0o17}} {{017}} {{1_000}} "
		 "{{\"\\x41\\u00e9\\101\\t\"}} {{`raw \\n`}} {{true}}",
		 "97 10 31 -3 4 3 15 15 1000 A\u00e9A\t raw \\n true"},
		{"{{or .ContainerLabels.nope \"default\"}} {{and .ContainerLabels.nope \"x\"}} {{not "
		 ".ContainerLabels.nope}} {{if .ContainerLabels.nope}}a{{else}}b{{end}}",
		 "default <no value> true b"},
		{"{{.ID|}}", "abcdef012345"},
		{"{{- .ID}} {{.ID -}} x", "abcdef012345 abcdef012345x"},
		{"  {{- 3}} {{3 -}}  x", "3 3x"},
		{"{{-3}}", "-3"},
		{"{{.Name}}{{\"\\n\"}}{{.ID}}", "test-container\nabcdef012345"},
		{"}} { {{\"{{\"}} }", "}} { {{ }"},
		{"{{range $i, $e := .ContainerArgs}}{{if $i}},{{end}}{{$e}}{{end}}", "-c,hello \"w\""},
		{"{{$x := .Name}}{{range .ContainerArgs}}{{$x}}{{$.Name}}{{end}}",
		 "test-containertest-containertest-containertest-container"},
		{"{{.ContainerLabels.b | json | json}}", "\"\\\"vb <&>\\\"\""},
		{"{{with .ContainerLabels}}{{.b}} {{index . \"zz\"}}{{end}}", "vb <&> \u00e9"},
		{"{{with $y := split .ImageName \"/\"}}{{index $y 2}}{{end}}", "hello-world:alpine"},
		{"{{ .ID | printf \"%s/%s\" .Name }}", "test-container/abcdef012345"},
		{"{{(index (split .Name \"-\") 0)}}", "test"},
		{"{{print}}|{{print nil}}|{{print .ContainerLabels.nope}}", "|<nil>|<nil>"},
		{"{{if and .Name (not .LogPath)}}ok{{end}}", "ok"},
		{"{{or false 0 \"\"}}|{{and true 1 \"a\"}}", "|a"},
		{"{{or true (index .ContainerArgs 99)}}", "true"},
		{"{{.ContainerCreated | printf \"%v\"}} {{.ContainerCreated | printf \"%s\"}}",
		 "2024-01-02 03:04:05.678 +0000 UTC 2024-01-02 03:04:05.678 +0000 UTC"},
		{"{{if $x := .Name}}{{$x}}{{else}}{{$x}}{{end}}", "test-container"},
		{"{{(.ContainerLabels).b}}", "vb <&>"},
		{"{{$l := .ContainerLabels}}{{$l.b}} {{$.ContainerLabels.b}}", "vb <&> vb <&>"},
		{"{{.ID}}{{/* a */}}{{- /* b */ -}} x", "abcdef012345x"},
		{"{{printf \"%v %v\" .ContainerLabels.nope nil}}", "<nil> <nil>"},
		{"{{len \"\u00e9\"}} {{printf \"%3s|%.1s\" \"\u00e9\" \"\u00e9a\"}} {{html \"\u00e9\\x00\"}}",
		 "2   \u00e9|\u00e9 \u00e9\ufffd"},
		{"{{urlquery 1 2 \"a\" 3}}", "1+2a3"},
		{"{{index 1}} {{index .Name}}", "1 test-container"},
		{"{{eq true true}} {{ne true false}} {{eq \"a\" \"a\" 1}}", "true true true"},
		{"{{join .ContainerArgs \",\"}}{{join (slice .ContainerArgs 0 1) \"x\"}}", "-c,hello \"w\"-c"},
		{"{{ if true }}a{{ end }}{{if true -}} b {{- end}}", "ab"},
		{"{{if not (eq .Name \"x\")}}n{{end}}", "n"},
		{"{{.Name|upper|printf \"%q\"}}", "\"TEST-CONTAINER\""},
		{"{{\"a\"|printf \"%s%s\" (\"b\")}}", "ba"},
		{"{{printf \"%s\" (print \"a\" \"b\")}}", "ab"},
		{"{{true}}{{false}}{{not false}}", "truefalsetrue"},
		{"{{if (eq 1 1)}}{{\"x\"}}{{end}}", "x"},
		{"{{with true}}{{.}}{{end}}", "true"},
		{"{{range split \"a,b,c\" \",\"}}{{.}}{{else}}e{{end}}", "abc"},
		{"{{range split \"\" \"\"}}{{.}}{{else}}e{{end}}", "e"},
		{"{{join .ContainerLabels.q \"-\"}}|{{join nil \",\"}}", "|"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		char *tag = NULL;

		if (tag_render(cases[i].template, LOG_SYSLOG, &info, "myhost", &tag, &err) < 0)
			fail_msg("%s: %s", cases[i].template, err.message);
		if (strcmp(tag, cases[i].tag) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", cases[i].template, tag, cases[i].tag);
		free(tag);
	}
}

// Wrong for Go as well, or not known here: never another text.
static void test_refused(void **state)
{
	static const struct {
		const char *template, *text; // of the error, behind the place
	} cases[] = {
		{"{{\"raw\" | printf \"%s-%s\" \"x\"}} {{.Name | upper | truncate 3}} ",
		 "error calling truncate: wrong type for value; expected string; got int"},
		{"{{.Foo}}", "can't evaluate field Foo in type *logger.Info"},
		{"{{.ID \"x\"}}", "wrong number of args for ID: want 0 got 1"},
		{"{{.DaemonName \"x\"}}", "DaemonName has arguments but cannot be invoked as function"},
		{"{{\"x\" | .ID}}", "wrong number of args for ID: want 0 got 1"},
		{"{{foo}}", "function \"foo\" not defined"},
		{"{{.ContainerLabels.b.c}}", "can't evaluate field c in type string"},
		{"{{lower 5}}", "error calling lower: wrong type for value; expected string; got int"},
		{"{{lower .ContainerLabels.nope}}",
		 "error calling lower: wrong type for value; expected string; got untyped nil"},
		{"{{index .ContainerArgs 9}}", "error calling index: index out of range: 9"},
		{"{{index .ContainerArgs \"a\"}}", "error calling index: cannot index slice/array with type string"},
		{"{{index .ContainerLabels 1}}", "error calling index: value has type int; should be string"},
		{"{{len 3}}", "error calling len: len of type int"},
		{"{{len .ContainerLabels.nope}}", "error calling len: len of type untyped nil"},
		{"{{lt 1 \"a\"}}", "error calling lt: incompatible types for comparison"},
		{"{{lt true false}}", "error calling lt: invalid type for comparison"},
		{"{{eq \"a\" 1}}", "error calling eq: incompatible types for comparison"},
		{"{{eq .ContainerArgs .ContainerArgs}}", "error calling eq: non-comparable type []string"},
		{"{{eq 1}}", "error calling eq: missing argument for comparison"},
		{"{{\"a\" \"b\"}}", "can't give argument to non-function"},
		{"{{nil}}", "nil is not a command"},
		{"{{1 | 2}}", "non executable command in pipeline"},
		{"{{.Name | \"x\"}}", "non executable command in pipeline"},
		{"{{if}}x{{end}}", "empty command"},
		{"{{if true}}x", "unexpected EOF"},
		{"{{end}}", "unexpected {{end}}"},
		{"{{else}}", "unexpected {{else}}"},
		{"{{$x}}", "undefined variable \"$x\""},
		{"{{$x = 1}}", "undefined variable \"$x\""},
		{"{{.ID}", "bad character after .ID"},
		{"{{.ID", "unclosed action"},
		{"{{.ID ", "unclosed action"},
		{"{{", "unclosed action"},
		{"{{- ", "unclosed action"},
		{"{{\"abc}}", "unterminated quoted string"},
		{"{{`abc}}", "unterminated raw quoted string"},
		{"{{/* x }}", "unclosed comment"},
		{"{{/* x */ y}}", "comment ends before closing delimiter"},
		{"{{.ID.}}", "unexpected \".\" in operand"},
		{"{{.ID.x}}", "can't evaluate field x in type string"},
		{"{{1.x}}", "not an integer, which numbers have to be here: 1.x"},
		{"{{\"a\".x}}", "unexpected . after term"},
		{"{{true.x}}", "unexpected . after term"},
		{"{{(.ID}}", "unexpected \"}}\" in operand"},
		{"{{.ID)}}", "unexpected \")\" in operand"},
		{"{{}}", "empty command"},
		{"{{|}}", "empty command"},
		{"{{if true}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"},
		{"{{range .Name}}x{{end}}", "range can't iterate over string"},
		{"{{range true}}x{{end}}", "range can't iterate over bool"},
		{"{{pad \"x\" -1 0}}", "error calling pad: negative Repeat count"},
		{"{{truncate \"x\" -1}}", "error calling truncate: slice bounds out of range"},
		{"{{join \"a\" \"b\"}}", "error calling join: wrong type for value; expected []string; got string"},
		{"{{split \"a\"}}", "wrong number of args for split: want 2 got 1"},
		{"{{slice \"abc\" 2 1}}", "error calling slice: invalid slice index: 2 > 1"},
		{"{{slice \"abc\" 1 9}}", "error calling slice: index out of range: 9"},
		{"{{slice \"abc\" 1 2 3}}", "error calling slice: too many slice indexes: 3"},
		{"{{not}}", "wrong number of args for not: want 1 got 0"},
		{"{{and}}", "wrong number of args for and: want at least 1 got 0"},
		{"{{.ExtraAttributes}}", "wrong number of args for ExtraAttributes: want 1 got 0"},
		{"{{.ExtraAttributes 1}}", "ExtraAttributes takes nil, not int"},
		{"{{3-}}", "unexpected \"-\" in an action"},
		{"{{(split .Name \"-\").x}}", "can't evaluate field x in type []string"},
		{"{{printf \"%d\" \"x\"}}", "error calling printf: printf: \"%d\" of string is not supported"},
		{"{{printf \"%s\" 5}}", "error calling printf: printf: \"%s\" of int is not supported"},
		{"{{printf \"%s\"}}", "error calling printf: printf: no value for \"%s\""},
		{"{{printf \"%s\" \"a\" \"b\"}}",
		 "error calling printf: printf: 1 values more than the format has places for"},
		{"{{printf \"%z\" 1}}", "error calling printf: printf: %s, %v, %d and %q are supported, not \"%z\""},
		{"{{\"\u00e9\" | upper}}", "error calling upper: only ASCII is supported here"},
		{"{{1.5}}", "not an integer, which numbers have to be here: 1.5"},
		{"{{define \"x\"}}{{end}}", "{{define}} is not supported here"},
		{"{{range $a := .ContainerArgs}}{{$a}}{{end}}{{$a}}", "undefined variable \"$a\""},
		{"{{range $a, $b, $c := .ContainerArgs}}{{end}}", "unexpected \",\" in range"},
		{"{{$a, $b := .ContainerArgs}}", "undefined variable \"$a\""},
		{"{{.ContainerLabels . }}", "ContainerLabels has arguments but cannot be invoked as function"},
		{"{{.ContainerLabels.b 1}}", "b is not a method but has arguments"},
		{"{{\"\\q\"}}", "invalid syntax in a quoted string"},
		{"{{'ab'}}", "malformed character constant"},
		{"{{ /* no */ }}", "unexpected \"/\" in an action"},
		{"{{index .ContainerLabels.nope \"a\"}}", "error calling index: index of untyped nil"},
		{"{{.a.b}}", "can't evaluate field a in type *logger.Info"},
		{"{{$}}", "can't print *logger.Info"},
		{"{{.}}", "can't print *logger.Info"},
		{"{{.Name.Foo}}", "can't evaluate field Foo in type string"},
		{"{{call .ID}}", "{{call}} is not supported here"},
		{"{{template \"x\"}}", "{{template}} is not supported here"},
		{"{{block \"x\" .}}{{end}}", "{{block}} is not supported here"},
		{"{{break}}", "{{break}} is not supported here"},
		{"{{eq 1 \"a\" 1}}", "error calling eq: incompatible types for comparison"},
		{"{{\"a\"\"b\"}}", "unexpected literal in operand"},
		{"{{print \"a\"\"b\"}}", "unexpected literal in operand"},
		{"{{print(\"a\")}}", "unexpected \"(\" in operand"},
		{"{{print (1)(2)}}", "unexpected \"(\" in operand"},
		{"{{.ID.ID}}", "can't evaluate field ID in type string"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};
		char *tag = NULL;

		assert_int_equal(tag_render(cases[i].template, LOG_SYSLOG, &info, "myhost", &tag, &err), -EINVAL);
		assert_null(tag);
		if (!str_starts(err.message, "template: log-tag:") || !strstr(err.message, cases[i].text))
			fail_msg("%s: %s", cases[i].template, err.message);
	}
}

static void assert_tag(const char *template, enum log_driver driver, const struct log_info *of, const char *expected)
{
	struct error err = {0};
	char *tag = NULL;

	if (tag_render(template, driver, of, "myhost", &tag, &err) < 0)
		fail_msg("%s: %s", template, err.message);
	assert_string_equal(tag, expected);
	free(tag);
}

static void test_defaults(void **state)
{
	struct log_info empty = {0};

	(void)state;
	assert_tag(NULL, LOG_AWSLOGS, &info, ID);
	assert_tag("", LOG_AWSLOGS, &info, ID);
	assert_tag(NULL, LOG_FLUENTD, &info, "abcdef012345");
	assert_tag("", LOG_SYSLOG, &info, "abcdef012345");
	assert_tag(NULL, LOG_SYSLOG, &empty, "");
	assert_tag("my-custom-tag", LOG_SYSLOG, &info, "my-custom-tag");
	assert_tag(
		"{{.Name}}|{{.ImageID}}|{{.Command}}|{{.ContainerArgs}}|{{json .ContainerEnv}}|{{.ContainerCreated}}",
		LOG_SYSLOG, &empty, "|||[]|null|0001-01-01 00:00:00 +0000 UTC");
}

static void test_values(void **state)
{
	struct log_info other = {
		.container_created = (char *)"2024-01-02T03:04:05+02:00",
		.container_name = (char *)"caf\u00e9",
		.container_labels = {(struct json_pair[]){{(char *)"q", (char *)"\x01\x7f\b\u2028"}}, 1}};
	char *tag = NULL;

	(void)state;
	assert_tag("{{.ContainerCreated}}", LOG_SYSLOG, &other, "2024-01-02 03:04:05 +0200 +0200");
	assert_tag("{{truncate .Name 4}}", LOG_SYSLOG, &other, "caf\ufffd"); // the character is cut
	assert_tag("{{json .ContainerLabels.q}}", LOG_SYSLOG, &other, "\"\\u0001\x7f\\b\\u2028\"");
	assert_tag("{{printf \"%q\" (slice .ContainerLabels.q 0 3)}}", LOG_SYSLOG, &other, "\"\\x01\\x7f\\b\"");
	assert_tag("{{html \"\\x00\"}}", LOG_SYSLOG, &other, "\ufffd");
	assert_int_equal(tag_render("{{\"a\\x00b\"}}", LOG_SYSLOG, &other, "h", &tag, NULL), -EINVAL);
	other.container_created = (char *)"yesterday";
	assert_int_equal(tag_render("{{.ContainerCreated}}", LOG_SYSLOG, &other, "h", &tag, NULL), -EINVAL);
}

static char *repeat(const char *text, size_t times, const char *tail)
{
	struct buf out = {0};

	for (size_t i = 0; i < times; i++)
		buf_append(&out, text, strlen(text));
	buf_append(&out, tail, strlen(tail));
	return buf_take(&out);
}

// Each bound is an error with a text, at once.
static void test_bounds(void **state)
{
	static const struct {
		const char *piece;
		size_t times;
		const char *tail, *text;
	} cases[] = {
		{"0123456789abcdef", 4097, "", "longer than 65536 bytes"},
		{"{{.Command}}0123456789abcdef0123456789abcdef", 1300, "", "the result is longer than 65536 bytes"},
		{"{{if true}}", 51, "x", "max expression depth exceeded"},
		{"{{(", 1, "((((((((((((((((((((((((((((((((((((((((((((((((((((((1))",
		 "max expression depth exceeded"},
		{"{{$a := 1}}", 51, "", "more than 50 variables"},
		{"{{print 1 2 3 4 5 6 7 8 9}}", 2000, "", "it takes more than 1 MiB of memory"},
		{"{{$s := split (printf \"%500s\" \"\") \"\"}}", 1,
		 "{{range $s}}{{range $s}}{{if true}}{{end}}{{end}}{{end}}", "more than 100000 steps"},
		{"{{printf \"%99999d\" 1}}", 1, "", "longer than 65536 bytes"},
		{"{{pad \"x\" 65536 0}}", 1, "", "longer than 65536 bytes"},
		{"{{pad \"x\" 9223372036854775807 1}}", 1, "", "longer than 65536 bytes"},
		{"{{$x := printf \"%60000s\" \"\"}}", 1,
		 "{{range .ContainerArgs}}{{range split (printf \"%20s\" \"\") \"\"}}{{$y := upper $x}}{{end}}{{end}}",
		 "it takes more than 1 MiB of memory"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *template = repeat(cases[i].piece, cases[i].times, cases[i].tail), *tag = NULL;
		struct error err = {0};

		assert_int_equal(tag_render(template, LOG_SYSLOG, &info, "myhost", &tag, &err), -EINVAL);
		if (!strstr(err.message, cases[i].text))
			fail_msg("%zu: %s", i, err.message);
	}
}

// The environment is in no error text.
static void test_secrets(void **state)
{
	static const char *const templates[] = {"{{lower .ContainerEnv}}",           "{{.ContainerEnv.x}}",
						"{{index .ContainerEnv \"x\"}}",     "{{index .ContainerEnv 9}}",
						"{{len (index .ContainerEnv 1) 2}}", "{{template .ContainerEnv}}"};
	char *tag = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(templates); i++) {
		struct error err = {0};

		assert_int_equal(tag_render(templates[i], LOG_SYSLOG, &info, "myhost", &tag, &err), -EINVAL);
		assert_null(strstr(err.message, "a=b"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rendered), cmocka_unit_test(test_refused), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),   cmocka_unit_test(test_bounds),  cmocka_unit_test(test_secrets),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
