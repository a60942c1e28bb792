//! The YAML configuration and its validation.
