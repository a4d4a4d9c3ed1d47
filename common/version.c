#include "common/version.h"

const char ecsd_version[] = ECSD_VERSION;
const char ecsd_commit[] = ECSD_COMMIT;
const char ecsd_libexecdir[] = ECSD_LIBEXECDIR;
