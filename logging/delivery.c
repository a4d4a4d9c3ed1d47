#include "logging/delivery.h"

#include "common/log.h"
#include "common/util.h"

#include <inttypes.h>

void delivery_init(struct delivery *delivery, struct loop *loop, const char *driver, const char *container_id)
{
	*delivery = (struct delivery){.loop = loop, .driver = driver, .container_id = container_id};
}

void delivery_done(struct delivery *delivery)
{
	str_replace(&delivery->trouble, NULL);
}

void delivery_arrived(struct delivery *delivery, uint64_t lines, uint64_t bytes)
{
	delivery->lines += lines;
	delivery->bytes += bytes;
	if (!delivery->trouble)
		return;
	if (delivery->trouble_told)
		log_info("logs go out again", "container=%s driver=%s after_ms=%" PRIu64, delivery->container_id,
			 delivery->driver, loop_now(delivery->loop) - delivery->trouble_since);
	delivery->trouble_told = false;
	str_replace(&delivery->trouble, NULL);
}

void delivery_failed(struct delivery *delivery, const struct error *err)
{
	uint64_t now = loop_now(delivery->loop);

	delivery->retries++;
	if (!delivery->trouble)
		delivery->trouble_since = now;
	str_replace(&delivery->trouble, err->message);
	if (delivery->reported && now - delivery->reported < DELIVERY_REPORT_MS)
		return;
	delivery->reported = now;
	delivery->trouble_told = true;
	log_warn("logs wait on disk", "container=%s driver=%s reason=%s", delivery->container_id, delivery->driver,
		 delivery->trouble);
}

void delivery_gave_up(struct delivery *delivery, uint64_t lines, const char *why)
{
	uint64_t now = loop_now(delivery->loop);

	delivery->lost += lines;
	if (delivery->lost_reported && now - delivery->lost_reported < DELIVERY_REPORT_MS)
		return;
	delivery->lost_reported = now;
	log_warn("the destination refuses log lines for good",
		 "container=%s driver=%s lines=%" PRIu64 " since_start=%" PRIu64 " reason=%s", delivery->container_id,
		 delivery->driver, lines, delivery->lost, why);
}

json_object *delivery_status(const struct delivery *delivery)
{
	json_object *status = json_object_new_object();

	json_add_string(status, "Driver", delivery->driver);
	json_add_int(status, "DeliveredLines", (int64_t)delivery->lines);
	json_add_int(status, "DeliveredBytes", (int64_t)delivery->bytes);
	json_add_int(status, "Retries", (int64_t)delivery->retries);
	json_add_int(status, "RefusedLines", (int64_t)delivery->lost);
	json_add_int(status, "RepeatedLines", (int64_t)delivery->duplicates);
	json_add_int(status, "UnknownAcks", (int64_t)delivery->unknown_acks);
	json_add_int(status, "CutLines", (int64_t)delivery->cut);
	json_add_string(status, "Trouble", delivery->trouble);
	if (delivery->trouble)
		json_add_int(status, "TroubleMs", (int64_t)(loop_now(delivery->loop) - delivery->trouble_since));
	return status;
}
