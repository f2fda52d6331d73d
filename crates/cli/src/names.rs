//! Names for the identifiers of the journal: a reader knows `billing-agent`, not `agt_…`.

use std::collections::HashMap;

use serde_json::Value;

use crate::admin::{Admin, Operation, items};
use crate::exit::Failure;
use crate::json::{set, text};

/// Names by identifier, as the registry has them now. For tables only: programs get identifiers.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    pub(crate) async fn load(admin: &Admin) -> Result<Self, Failure> {
        let mut names = HashMap::new();
        let lists = [Operation::AgentList, Operation::OwnerList, Operation::ServerList];
        let mut answers = Vec::new();
        for operation in lists {
            answers.push(admin.read(operation, &[], &[]).await?);
        }
        // Who may not list people sees their identifiers.
        answers.extend(admin.read(Operation::PersonList, &[], &[]).await.ok());
        for answer in answers {
            for item in items(&answer) {
                if let (Some(id), Some(name)) = (text(item, "id"), text(item, "name")) {
                    names.insert(id.to_owned(), name.to_owned());
                }
            }
        }
        Ok(Self(names))
    }

    /// Replaces the identifiers of an entry that have a name.
    pub(crate) fn put_into(&self, entry: &mut Value) {
        for field in ["agent", "by", "client_id", "owner", "server", "subject"] {
            let name = text(entry, field).and_then(|id| self.0.get(id)).cloned();
            if let Some(name) = name {
                set(entry, field, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_name_stays() {
        let names = Names(HashMap::from([("agt_1".to_owned(), "billing".to_owned())]));
        let mut entry = json!({ "agent": "agt_1", "server": "srv_1", "tool": "agt_1" });
        names.put_into(&mut entry);
        assert_eq!(entry, json!({ "agent": "billing", "server": "srv_1", "tool": "agt_1" }));
    }
}
