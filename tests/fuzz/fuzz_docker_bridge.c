// Docker's answer to ecs-host's question for the default bridge: HTTP head and JSON. The name goes into iptables' arguments
// and below /proc/sys.
#include "host/docker_bridge.h"
#include "fuzz.h"
#include "host/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *answer = fuzz_text(data, size);
	char name[IF_NAMESIZE];
	struct error err = {0};

	if (docker_bridge_parse(answer, size, name, &err) < 0)
		check_reason(err.message);
	else
		CHECK(!*name || bridge_name_valid(name));
	return 0;
}
