//! `attorn status`: what runs, and how it is.

use crate::admin::{Admin, Operation};
use crate::commands::Context;
use crate::exit::{Exit, Failure};

pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    Admin::open(context).await?.show(Operation::Status, &[]).await
}
