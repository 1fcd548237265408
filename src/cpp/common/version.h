// What this build is, for bug reports and for `ctxengine --version`.
#pragma once

namespace ctx {

/// The package version of pyproject.toml, for example "0.1.0".
const char* Version() noexcept;

}  // namespace ctx
