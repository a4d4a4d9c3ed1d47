#include "acs_endpoint.h"
#include "common/util.h"
#include <curl/curl.h>
#include <errno.h>

int acs_endpoint_check(const char *endpoint, struct error *err)
{
	static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
	CURLU *parsed = curl_url();
	bool good = false;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		good |= str_starts(endpoint, schemes[i]) && endpoint[strlen(schemes[i])] != '\0';
	good = good && !strpbrk(endpoint, "?# \r\n") &&
	       curl_url_set(parsed, CURLUPART_URL, endpoint, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
	curl_url_cleanup(parsed);
	return good ? 0 : error_set(err, EINVAL, "the ACS endpoint is no http or https address: %.200s", endpoint);
}
