//! HTTP of the authorization server and of the admin API.
