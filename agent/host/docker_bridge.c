#include "host/docker_bridge.h"

#include "common/json.h"
#include "common/unix_socket.h"
#include "common/util.h"
#include "host/rules.h"
#include <poll.h>
#include <sys/socket.h>

#define LIMIT_MS 2000
#define ANSWER_MAX ((size_t)4 << 20)
#define OPTION "com.docker.network.bridge."
// filters={"driver":["bridge"]}
#define QUESTION "GET /networks?filters=%7B%22driver%22%3A%5B%22bridge%22%5D%7D HTTP/1.0\r\nHost: docker\r\n\r\n"

static int read_answer(int fd, struct buf *answer, struct error *err)
{
	int64_t until = monotonic_ms() + LIMIT_MS;
	char chunk[4096];

	for (;;) {
		int64_t left = until - monotonic_ms();
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int r = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			return error_set(err, ETIMEDOUT, "Docker has not answered for %d s", LIMIT_MS / 1000);
		ssize_t n = r > 0 ? recv(fd, chunk, sizeof(chunk), 0) : -1;
		if (n < 0)
			return error_set_errno(err, errno, "cannot read Docker's answer");
		if (n == 0)
			return 0;
		if (buf_append(answer, chunk, (size_t)n) < 0)
			return error_set(err, EMSGSIZE, "Docker's answer is larger than %zu bytes", ANSWER_MAX);
	}
}

int docker_bridge_ask(const char *socket_path, char name[IF_NAMESIZE], struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct buf answer = {.max = ANSWER_MAX};

	int r = unix_connect(socket_path, &fd, err);
	if (r < 0)
		return r;
	if (send(fd, QUESTION, strlen(QUESTION), MSG_NOSIGNAL) != (ssize_t)strlen(QUESTION))
		return error_set_errno(err, errno, "cannot ask Docker at %s", socket_path);
	r = read_answer(fd, &answer, err);
	if (r == 0)
		r = docker_bridge_parse(answer.data ? answer.data : "", answer.len, name, err);
	buf_free(&answer);
	return r;
}

int docker_bridge_parse(const char *answer, size_t len, char name[IF_NAMESIZE], struct error *err)
{
	const char *status = memchr(answer, ' ', len), *body = memmem(answer, len, "\r\n\r\n", 4);
	struct error problem = {0};

	if (!str_starts(answer, "HTTP/1.") || !status || !body)
		return error_set(err, EPROTO, "what answers at Docker's socket does not speak HTTP");
	if (strncmp(status, " 200", 4) != 0)
		return error_set(err, EPROTO, "Docker's answer about its networks is \"%.*s\"",
				 (int)strcspn(answer, "\r\n"), answer);
	body += 4;
	_cleanup_json_ json_object *networks = json_parse(body, len - (size_t)(body - answer), &problem);
	if (problem.code)
		return error_set(err, problem.code, "Docker's networks: %s", problem.message);
	if (!json_object_is_type(networks, json_type_array))
		return error_set(err, EPROTO, "Docker's networks are no list");
	for (size_t i = 0; i < json_object_array_length(networks); i++) {
		json_object *network = json_object_array_get_idx(networks, i);
		json_object *options =
			json_object_is_type(network, json_type_object) ? json_get(network, "Options") : NULL;
		if (!json_object_is_type(options, json_type_object) ||
		    !str_equal(json_get_string(options, OPTION "default_bridge"), "true"))
			continue;
		const char *bridge = json_get_string(options, OPTION "name");
		if (!bridge || !bridge_name_valid(bridge))
			return error_set(err, EINVAL, "Docker's default bridge is called \"%s\"", bridge ? bridge : "");
		snprintf(name, IF_NAMESIZE, "%s", bridge);
		return 0;
	}
	*name = '\0';
	return 0;
}
