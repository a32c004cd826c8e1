//! As whom a handler runs.

use std::ffi::OsString;

use nix::unistd::{Gid, Group, Uid, User};

use crate::exec::Identity;

/// Variables of the environment.
type Variables = Vec<(OsString, OsString)>;

/// Reads `user` and `group`, each a name or a number. Gives also what the environment says of the user.
/// `None`: it runs as the worker does.
pub(super) fn identity(
    user: Option<&str>,
    group: Option<&str>,
) -> Result<(Option<Identity>, Variables), String> {
    let Some(name) = user else {
        return match group {
            Some(_) => Err("group requires user".to_owned()),
            None => Ok((None, Vec::new())),
        };
    };
    let failed = |error: nix::Error| format!("user {name:?}: {error}");
    let entry = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)).map_err(failed)?,
        Err(_) => User::from_name(name).map_err(failed)?,
    };
    let uid = match (&entry, name.parse()) {
        (Some(entry), _) => entry.uid.as_raw(),
        (None, Ok(number)) => number,
        (None, Err(_)) => return Err(format!("user {name:?}: there is no such user")),
    };
    let gid = match (group, &entry) {
        (Some(group), _) => group_number(group)?,
        (None, Some(entry)) => entry.gid.as_raw(),
        (None, None) => return Err(format!("user {name:?} has no entry: group is required")),
    };
    if !Uid::effective().is_root() {
        return Err(format!(
            "user {name:?}: only a worker that runs as root can run it as another"
        ));
    }
    let of_user = entry.map_or_else(Vec::new, |entry| {
        let login = OsString::from(entry.name);
        vec![
            ("HOME".into(), entry.dir.into()),
            ("USER".into(), login.clone()),
            ("LOGNAME".into(), login),
            ("SHELL".into(), entry.shell.into()),
        ]
    });
    Ok((Some(Identity { uid, gid }), of_user))
}

fn group_number(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number).as_raw());
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("group {name:?}: there is no such group")),
        Err(error) => Err(format!("group {name:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(identity(None, None), Ok((None, Vec::new())));
        let refused = |user, group| identity(user, group).unwrap_err();
        assert!(refused(None, Some("nogroup")).contains("requires user"));
        assert!(refused(Some("no such user"), None).contains("no such user"));
        assert!(refused(Some("root"), Some("no such group")).contains("no such group"));
        assert!(refused(Some("4000000"), None).contains("group is required"));
        let root = identity(Some("root"), Some("7"));
        if Uid::effective().is_root() {
            let (who, environment) = root.unwrap();
            assert_eq!(who, Some(Identity { uid: 0, gid: 7 }));
            assert!(environment.contains(&("USER".into(), "root".into())));
            let (who, environment) = identity(Some("4000000"), Some("7")).unwrap();
            assert_eq!((who, environment.len()), (Some(Identity { uid: 4_000_000, gid: 7 }), 0));
        } else {
            assert!(root.unwrap_err().contains("root"));
        }
    }
}
