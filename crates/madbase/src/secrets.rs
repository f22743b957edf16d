//! The secrets of an installation: made once, kept in files of mode 0600, never made anew over existing data.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::layout::Layout;
use crate::settings::Environment;

const MASTER_KEY: &str = "master_key";
const ADMIN_TOKEN: &str = "admin_token";
const POSTGRES_PASSWORD: &str = "postgres_password";

/// What the server needs to know and nobody else may.
pub(crate) struct Secrets {
    /// Encrypts the projects' secrets in the control database.
    pub(crate) master_key: [u8; 32],
    /// Opens the control plane.
    pub(crate) admin_token: SecretString,
    /// The superuser's password on our own PostgreSQL.
    pub(crate) postgres_password: SecretString,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Read the secrets of `layout`; make them on a first start.
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        Ok(Self {
            master_key: decode_key(&read_or_make(layout, MASTER_KEY)?)
                .ok_or_else(|| damaged(layout, MASTER_KEY))?,
            admin_token: read_or_make(layout, ADMIN_TOKEN)?.into(),
            postgres_password: read_or_make(layout, POSTGRES_PASSWORD)?.into(),
        })
    }
}

/// What opens a control plane of its own machine, and the projects' secrets.
pub(crate) struct SystemSecrets {
    pub(crate) master_key: [u8; 32],
    pub(crate) admin_token: SecretString,
}

impl SystemSecrets {
    /// What the environment gives; the rest from the files of `layout`, made on a first start.
    pub(crate) fn open(layout: &Layout, environment: &Environment, key_file: Option<&Path>) -> Result<Self> {
        let admin_token = match &environment.admin_token {
            Some(token) => token.clone(),
            None => read_or_make(layout, ADMIN_TOKEN)?.into(),
        };
        let master_key = match given_master_key(environment, key_file)? {
            Some(key) => key,
            None => {
                decode_key(&read_or_make(layout, MASTER_KEY)?).ok_or_else(|| damaged(layout, MASTER_KEY))?
            }
        };
        Ok(Self { master_key, admin_token })
    }
}

/// The cluster's master key, which a proxy or a worker is given and never makes.
pub(crate) fn master_key(
    layout: &Layout,
    environment: &Environment,
    key_file: Option<&Path>,
) -> Result<[u8; 32]> {
    if let Some(key) = given_master_key(environment, key_file)? {
        return Ok(key);
    }
    let path = layout.secrets().join(MASTER_KEY);
    match fs::read_to_string(&path) {
        Ok(text) => decode_key(text.trim()).ok_or_else(|| damaged(layout, MASTER_KEY)),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no master key: copy secrets/{MASTER_KEY} of the system node's data directory to {}, \
             or name it by --master-key-file or MADBASE_MASTER_KEY",
            path.display()
        ),
        Err(error) => {
            Err(error).with_context(|| format!("cannot read {}: check its owner and mode", path.display()))
        }
    }
}

fn given_master_key(environment: &Environment, key_file: Option<&Path>) -> Result<Option<[u8; 32]>> {
    let wrong = "expected 43 characters of base64url, as in secrets/master_key of the data directory";
    if let Some(text) = &environment.master_key {
        let key = decode_key(text.expose_secret().trim());
        return key.map(Some).with_context(|| format!("MADBASE_MASTER_KEY is no master key: {wrong}"));
    }
    let Some(path) = key_file else { return Ok(None) };
    let text = fs::read_to_string(path).with_context(|| {
        format!("cannot read the master key {}: check its owner and mode", path.display())
    })?;
    let key = decode_key(text.trim());
    key.map(Some).with_context(|| format!("{} is no master key: {wrong}", path.display()))
}

/// The admin token of the server on this machine's `layout`.
pub(crate) fn admin_token(layout: &Layout) -> Result<SecretString> {
    let path = layout.secrets().join(ADMIN_TOKEN);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read the admin token {}: run this as the user that started madbase, \
             choose its --data-dir, or set MADBASE_ADMIN_TOKEN",
            path.display()
        )
    })?;
    if is_sound(&text) { Ok(text.trim().into()) } else { Err(damaged(layout, ADMIN_TOKEN)) }
}

/// 32 random bytes in URL-safe base64: 43 characters.
fn read_or_make(layout: &Layout, name: &str) -> Result<String> {
    let path = layout.secrets().join(name);
    match fs::read_to_string(&path) {
        Ok(text) if is_sound(&text) => Ok(text.trim().to_owned()),
        Ok(_) => Err(damaged(layout, name)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(damaged(layout, name)),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot read {}: check its owner and mode", path.display()))
        }
        Err(_) if layout.has_data() => bail!(
            "{} is missing although {} holds data made with it. Restore the file from a backup; \
             MadBase makes no new one, because the data would be lost",
            path.display(),
            layout.root().display()
        ),
        Err(_) => make(&path),
    }
}

fn make(path: &Path) -> Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("the system gave no random bytes"))?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    write_private(path, &text)?;
    Ok(text)
}

/// Write a file of mode 0600, whole or not at all: a crash must not leave a half file that the next start would call
/// damaged.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        path.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Keep the master key of the cluster that this node joined.
pub(crate) fn write_master_key(layout: &Layout, key: &SecretString) -> Result<()> {
    write_private(&layout.secrets().join(MASTER_KEY), key.expose_secret())
}

/// Whether `text` is 32 bytes as the files have them.
pub(crate) fn is_sound(text: &str) -> bool {
    decode_key(text.trim()).is_some()
}

fn decode_key(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn damaged(layout: &Layout, name: &str) -> anyhow::Error {
    anyhow!(
        "{} is damaged (expected 43 characters of base64url, one line). Restore it from a backup; \
         MadBase makes no new one, because what it protects would be lost",
        layout.secrets().join(name).display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::at(root.path().join("data"));
        layout.make().unwrap();
        (root, layout)
    }

    #[test]
    fn secrets_are_made_once_and_only_for_their_owner() {
        let (_root, layout) = layout();
        let first = Secrets::open(&layout).unwrap();
        let second = Secrets::open(&layout).unwrap();
        assert_eq!(first.master_key, second.master_key);
        assert_eq!(first.admin_token.expose_secret(), second.admin_token.expose_secret());
        assert_ne!(first.admin_token.expose_secret(), first.postgres_password.expose_secret());
        let mode = |it: &Path| it.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&layout.secrets()), 0o700);
        for name in [MASTER_KEY, ADMIN_TOKEN, POSTGRES_PASSWORD] {
            assert_eq!(mode(&layout.secrets().join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_left_as_it_is() {
        let (_root, layout) = layout();
        Secrets::open(&layout).unwrap();
        for bad in [&b""[..], b"short", b"\xff\xfe", b"not base64 at all, but long enough to be a key!!"] {
            let path = layout.secrets().join(MASTER_KEY);
            fs::write(&path, bad).unwrap();
            let error = Secrets::open(&layout).unwrap_err().to_string();
            assert!(error.contains("master_key is damaged"), "{error}");
            assert!(error.contains("backup"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_missing_file_is_not_made_anew_over_existing_data() {
        let (_root, layout) = layout();
        fs::create_dir(layout.root().join("postgres")).unwrap();
        fs::write(layout.root().join("postgres/PG_VERSION"), "15").unwrap();
        let error = Secrets::open(&layout).unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }
}
