//! Users by /etc/passwd. Not by the name service: that may ask a network, or read a file below our own mount.

use std::path::PathBuf;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Login name.
    pub(crate) name: String,
    /// Home directory.
    pub(crate) home: PathBuf,
}

/// The first entry of a user id on this machine.
pub(crate) fn of(uid: u32) -> Option<User> {
    find(&std::fs::read("/etc/passwd").ok()?, uid)
}

/// passwd(5): `name:password:uid:gid:gecos:home:shell`.
fn find(text: &[u8], uid: u32) -> Option<User> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, home, ..] = fields.as_slice() else {
            return None;
        };
        (id.parse() == Ok(uid) && !name.is_empty()).then(|| User {
            name: (*name).to_owned(),
            home: PathBuf::from(home),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_entry_of_an_id_is_its_user() {
        let text = b"root:x:0:0:root:/root:/bin/bash\n+::::::\nbroken:x:7\n\xff:x:8:8::/:\nme:x:8:8::/home/me:/bin/sh\nalias:x:8:8::/:/bin/sh\n";
        assert_eq!(find(text, 0).unwrap().name, "root");
        assert_eq!(
            find(text, 8),
            Some(User {
                name: "me".to_owned(),
                home: "/home/me".into()
            })
        );
        assert_eq!(find(text, 7), None);
        assert_eq!(find(b"", 0), None);
    }
}
