#include "common/version.h"

namespace ctx {

const char* Version() noexcept { return CTXENGINE_VERSION; }

}  // namespace ctx
