//! The roles of this process, started in order and stopped in reverse.
//!
//! ```text
//! store ─► journal ─► snapshot ─► authority, gateway ─► listeners
//! ```

use std::path::Path;

use crate::admin::Admin;
use crate::exit::Failure;
use crate::output::Output;

#[derive(Debug)]
pub(crate) struct World {}

impl World {
    pub(crate) async fn start_embedded(_folder: &Path) -> Result<Self, Failure> {
        Ok(Self {})
    }
    pub(crate) fn issuer(&self) -> &str {
        ""
    }
    pub(crate) fn admin_url(&self) -> &str {
        ""
    }
    pub(crate) fn gateway_url(&self) -> &str {
        ""
    }
    pub(crate) fn resource(&self, server: &str) -> String {
        format!("{}/{server}/mcp", self.gateway_url())
    }
    pub(crate) async fn enroll_administrator(
        &self,
        _folder: &Path,
        _output: Output,
    ) -> Result<Admin, Failure> {
        Err(Failure::no(""))
    }
    pub(crate) async fn list_tools_of(&self, _server: &str) -> Result<(), Failure> {
        Ok(())
    }
    pub(crate) async fn checkpointed(&self) {}
    pub(crate) async fn stop(self) {}
}
