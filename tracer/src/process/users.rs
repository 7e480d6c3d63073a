//! Users by number and by name, as the system's list knows them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nix::unistd::{Uid, User};

/// Names of users, each looked up once.
#[derive(Debug, Default)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// The user's name; its number where it has none, as in a container with users of its own.
    pub fn name(&mut self, uid: u32) -> &str {
        match self.names.entry(uid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
                new.insert(user.map_or_else(|| uid.to_string(), |user| user.name))
            }
        }
    }
}

/// The number of the user of that name; `None` where nobody has it.
pub fn id_of(name: &str) -> Option<u32> {
    let user = User::from_name(name).ok().flatten();
    user.map(|user| user.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_nobody_else_must() {
        let mut users = Users::default();
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(4_000_000_123), "4000000123");
        assert_eq!(id_of("root"), Some(0));
        assert_eq!(id_of("no such user"), None);
    }
}
