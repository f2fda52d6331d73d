//! The rules of the authorization server and of the resource server.
