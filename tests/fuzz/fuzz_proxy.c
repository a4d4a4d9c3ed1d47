// Which proxy the environment wants for a URL, and what a URL is called in texts. Input: lines for NO_PROXY, the proxy and
// the URL.
#include "common/transport.c"
#include "fuzz.h"

static void set(const char *name, const char *value)
{
	CHECK(setenv(name, value, 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *input = fuzz_text(data, size);
	char *rest = input, *line[3];
	for (size_t i = 0; i < ARRAY_SIZE(line); i++)
		line[i] = rest ? strsep(&rest, "\n") : (char *)"";
	set("NO_PROXY", line[0]);
	set("HTTP_PROXY", line[1]);
	_cleanup_free_ char *proxy = transport_proxy_for(line[2]), *again = transport_proxy_for(line[2]);
	CHECK(!proxy || (str_equal(proxy, line[1]) && *proxy));
	CHECK(str_equal(proxy, again)); // asking changes nothing
	_cleanup_free_ char *target = transport_target(line[2]);
	CHECK(target && (*target || !*line[2]));
	// A list that names everything excludes everything.
	_cleanup_free_ char *all = xasprintf("%s,*", line[0]);
	set("NO_PROXY", all);
	_cleanup_free_ char *none = transport_proxy_for(line[2]);
	CHECK(!none);
	// A URL's own host excludes it.
	_cleanup_free_ char *host = NULL, *port = NULL;
	if (!host_and_port(line[2], &host, &port) || strpbrk(host, ",/ \t\v\f\r%*:[]") || *host == '.' || !*host)
		return 0;
	set("NO_PROXY", host);
	_cleanup_free_ char *own = transport_proxy_for(line[2]);
	CHECK(!own);
	return 0;
}
