// A model as ranks of joined bytes, whatever rule it was published with.
#pragma once

#include "tokenize/definition.h"

namespace ctx::tokenize {

/// The model that gives every text the same ids by one rule: a pre-token that is one of `tokens` or
/// `whole_tokens` is taken whole, and otherwise the pair whose joined bytes come first in `tokens`
/// is merged first. merge_rule is kRanks and whole_first is set in what is returned; tokens that no
/// text gives are in `unused_tokens`.
///
/// A model with kRanks and whole_first is returned as it is. For the others each token is merged by
/// itself, by the model's own rule: O(bytes log bytes) of the longest token, times the tokens.
///
/// The model must be one that passes CheckDefinition. Throws LoadError as Vocabulary::FromModel.
ModelDefinition CanonicalModel(ModelDefinition model);

}  // namespace ctx::tokenize
