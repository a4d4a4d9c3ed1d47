// Messages of the ACS session that attach something (control-plane.md §12.5, §12.6): network interfaces of a
// task or of the instance, volumes. Decoded and checked as the official agent does; what is valid is not built yet.
#pragma once

#include "common/error.h"
#include "common/json.h"

// Members are NULL, 0 or empty when the message does not have them. Some are there for their type alone: a member
// of the wrong type drops the frame (§11.3).
struct acs_eni_address {
	char *address;
	bool primary;
};
struct acs_eni_vlan {
	char *vlan_id, *trunk_mac_address;
};
struct acs_eni_tunnel {
	char *tunnel_id, *interface_ip_address;
};
struct acs_eni_veth {
	char *peer_interface;
};
struct acs_eni {
	char *name, *mac_address, *attachment_arn, *ec2_id, *protocol, *private_dns_name, *gateway_ipv4, *gateway_ipv6;
	int64_t index;
	struct json_list ipv4, ipv6; // struct acs_eni_address
	struct json_strings domain_name, domain_name_servers;
	struct acs_eni_vlan *vlan;
	struct acs_eni_tunnel *tunnel;
	struct acs_eni_veth *veth;
};
struct acs_attach_eni {
	char *message_id, *cluster_arn, *instance_arn, *task_arn, *task_cluster_arn;
	int64_t generated_at, wait_timeout_ms;
	struct json_list enis; // struct acs_eni
};

struct acs_attachment_property {
	char *name, *value;
};
struct acs_attachment {
	char *arn, *type;
	struct json_list properties; // struct acs_attachment_property
};
struct acs_attach_resource {
	char *message_id, *cluster_arn, *instance_arn, *task_arn, *task_cluster_arn;
	int64_t generated_at, wait_timeout_ms; // 0: ACS_ATTACH_RESOURCE_WAIT_MS
	struct acs_attachment *attachment;
};

enum { ACS_ATTACH_RESOURCE_WAIT_MS = 300000 }; // §12.6

extern const struct json_table acs_attach_eni_table, acs_attach_resource_table;

// 0, or negative and err says why the message is not acted on.
int acs_eni_check(const struct acs_eni *eni, struct error *err);
int acs_attach_eni_check(const struct acs_attach_eni *message, bool of_task, struct error *err);
int acs_attach_resource_check(const struct acs_attach_resource *message, struct error *err);
