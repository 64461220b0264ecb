//! The user that front_door runs as: root is needed to bind a port below 1024, but an unprivileged
//! user talks to strangers.

use std::error::Error;
use std::io;

use nix::unistd::{Uid, User, geteuid, getuid, setgid, setgroups, setuid};

/// Returns the name of the party that a file must be readable for, for a message about this error. After
/// front_door has changed to another user, files that only root may read cannot be read again.
pub(crate) fn reader(error: &io::Error) -> String {
    let user = match error.kind() {
        io::ErrorKind::PermissionDenied => User::from_uid(geteuid()).ok().flatten(),
        _ => None,
    };
    user.map_or_else(|| "front_door".to_owned(), |user| format!("the user `{}`", user.name))
}

/// Changes to `user` permanently. Fails if the process would still be root and `as_root` is not
/// set.
pub(crate) fn become_own(user: Option<&str>, as_root: bool) -> Result<(), Box<dyn Error>> {
    if let Some(name) = user {
        change_to(name)?;
    }
    if geteuid().is_root() && !as_root {
        return Err("clients are not served as root; expected --user NAME, or --as-root".into());
    }
    Ok(())
}

/// Changes to this user, which needs root. Does nothing if the process already runs as this user.
pub(crate) fn change_to(name: &str) -> Result<(), Box<dyn Error>> {
    let user = User::from_name(name)?.ok_or_else(|| {
        format!(
            "--user {name}: no such user; create it, for example with `useradd --system {name}`"
        )
    })?;
    if user.uid == getuid() && user.uid == geteuid() {
        return Ok(());
    }
    if !geteuid().is_root() {
        let own = User::from_uid(geteuid())?.map_or(geteuid().to_string(), |own| own.name);
        return Err(format!(
            "--user {name}: only root can become another user, and this process runs as `{own}`; start it \
             as root, or omit --user"
        )
        .into());
    }
    // The order matters: a process that is no longer root may not change its groups.
    setgroups(&[user.gid])?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("--user {name}: the process could become root again").into());
    }
    Ok(())
}
