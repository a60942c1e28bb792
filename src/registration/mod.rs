//! The port of `RegistrationClient`: what is registered, in which order.
