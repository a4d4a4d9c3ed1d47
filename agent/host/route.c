#include "host/route.h"

#include "common/util.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define CREDENTIALS_ADDRESS "169.254.170.2"
#define LOOPBACK_INDEX 1 // in every network namespace
#define SECONDS_MAX 5    // for the kernel's answer, which comes at once

struct request {
	struct nlmsghdr header;
	struct rtmsg route;
	char attributes[64];
};

static void add_attribute(struct request *request, unsigned short type, const void *data, unsigned short len);
static void add_address(struct request *request);
static int ask(struct request *request, struct error *err);

int credentials_route_exists(struct error *err)
{
	struct request request = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
					     .nlmsg_type = RTM_GETROUTE,
					     .nlmsg_flags = NLM_F_REQUEST},
				  .route = {.rtm_family = AF_INET}};

	add_address(&request);
	int r = ask(&request, err);
	if (r == -ENETUNREACH || r == -EHOSTUNREACH || r == -EACCES ||
	    r == -EINVAL) // none; or unreachable, prohibit, blackhole
		return 0;
	return r < 0 ? r : 1;
}

static void make_route(struct request *request, unsigned short type, unsigned short flags)
{
	unsigned index = LOOPBACK_INDEX;

	*request = (struct request){.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
					       .nlmsg_type = type,
					       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags},
				    .route = {.rtm_family = AF_INET,
					      .rtm_table = RT_TABLE_MAIN,
					      .rtm_protocol = RTPROT_BOOT,
					      .rtm_scope = RT_SCOPE_LINK,
					      .rtm_type = RTN_UNICAST}};
	add_address(request);
	add_attribute(request, RTA_OIF, &index, sizeof(index));
}

int credentials_route_add(struct error *err)
{
	struct request request;

	make_route(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	int r = ask(&request, err);
	if (r == -EEXIST)
		return 1;
	return r < 0 ? error_wrap(err, "cannot add the route " CREDENTIALS_ADDRESS "/32 dev lo scope link") : 0;
}

int credentials_route_delete(struct error *err)
{
	struct request request;

	make_route(&request, RTM_DELROUTE, 0);
	int r = ask(&request, err);
	if (r == -ESRCH)
		return 0;
	return r < 0 ? error_wrap(err, "cannot delete the route " CREDENTIALS_ADDRESS "/32 dev lo scope link") : 0;
}

static void add_address(struct request *request)
{
	struct in_addr address;

	inet_pton(AF_INET, CREDENTIALS_ADDRESS, &address);
	request->route.rtm_dst_len = 32;
	add_attribute(request, RTA_DST, &address, sizeof(address));
}

static void add_attribute(struct request *request, unsigned short type, const void *data, unsigned short len)
{
	struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(attribute), data, len);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

// One request, one answer: the kernel's error, 0 for an acknowledgement or a route.
static int ask(struct request *request, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval limit = {.tv_sec = SECONDS_MAX};
	union {
		struct nlmsghdr header;
		char bytes[4096];
	} answer;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    send(fd, request, request->header.nlmsg_len, 0) < 0)
		return error_set_errno(err, errno, "cannot ask the kernel for routes");
	ssize_t n = recv(fd, &answer, sizeof(answer), 0);
	if (n < 0)
		return error_set_errno(err, errno, "the kernel does not answer about routes");
	if (!NLMSG_OK(&answer.header, (size_t)n))
		return error_set(err, EPROTO, "the kernel's answer about routes is too short: %zd bytes", n);
	if (answer.header.nlmsg_type != NLMSG_ERROR)
		return 0;
	const struct nlmsgerr *status = NLMSG_DATA(&answer.header);
	return status->error < 0 ? error_set_errno(err, -status->error, "route to " CREDENTIALS_ADDRESS) : 0;
}
