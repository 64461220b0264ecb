//! Whom we run as: root binds a port below 1024, somebody else talks to strangers.

use std::error::Error;

use nix::unistd::{Uid, User, geteuid, setgid, setgroups, setuid};

/// Becomes `user` for good. Fails where that would leave us as root and `as_root` is not said.
pub(crate) fn become_own(user: Option<&str>, as_root: bool) -> Result<(), Box<dyn Error>> {
    if let Some(name) = user {
        let user = User::from_name(name)?.ok_or_else(|| format!("there is no user `{name}`"))?;
        // In this order: who is no longer root may not change groups.
        setgroups(&[user.gid])?;
        setgid(user.gid)?;
        setuid(user.uid)?;
        if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err("root is not gone for good".into());
        }
    }
    if geteuid().is_root() && !as_root {
        return Err("strangers are not served as root: say --user NAME, or --as-root".into());
    }
    Ok(())
}
