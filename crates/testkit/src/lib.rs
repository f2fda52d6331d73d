//! Keys, clock, vectors and canary upstreams for tests.
