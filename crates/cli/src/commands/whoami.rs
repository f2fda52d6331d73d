//! `attorn whoami`: who this profile is to the authority.

use crate::admin::{Admin, Operation};
use crate::commands::Context;
use crate::exit::{Exit, Failure};

pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    Admin::open(context).await?.show(Operation::Whoami, &[]).await
}
