//! The YAML peer file of Stadium: parsed, validated, compared.
