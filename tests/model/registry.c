// engine/registry.h for an engine without one: no image here needs a login.
#include "engine/registry.h"

#include "common/util.h"

bool registry_role_known(const struct registry *registry, const struct task *task)
{
	(void)registry, (void)task;
	return false;
}

char *registry_identity(const struct registry *registry, const struct task *task, const struct container *container)
{
	(void)registry, (void)task, (void)container;
	return xstrdup("engine");
}

struct registry_call *registry_login(struct registry *registry, const struct task *task,
				     const struct container *container, registry_done done, void *arg)
{
	(void)registry, (void)task, (void)container, (void)done, (void)arg;
	return NULL;
}

struct registry_call *registry_read_secret(struct registry *registry, const struct task *task,
					   const struct container *container, registry_done done, void *arg)
{
	(void)registry, (void)task, (void)container, (void)done, (void)arg;
	return NULL;
}

void registry_cancel(struct registry_call *call)
{
	(void)call;
}

bool registry_forget(struct registry *registry, const struct task *task, const struct container *container)
{
	(void)registry, (void)task, (void)container;
	return false;
}
