//! Listeners, TLS, limits, graceful stop and outbound HTTP.
