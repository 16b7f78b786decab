//! Logins. Secrets in files are read at every connect, so that a renewed file needs no restart.

use async_nats::{Auth, AuthError};
use connector::Secret;
use nkeys::KeyPair;
use std::fmt;
use std::path::{Path, PathBuf};

/// How to log in.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    None,
    User { user: String, password: Source },
    Token(Source),
    Nkey(PathBuf),
    Credentials(PathBuf),
}

/// Where a secret is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Given(Secret),
    File(PathBuf),
}

/// A secret that cannot be used: the file and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub(crate) struct LoginError {
    path: PathBuf,
    reason: String,
}

impl Source {
    fn read(&self) -> Result<String, LoginError> {
        match self {
            Source::Given(secret) => Ok(secret.expose().to_owned()),
            Source::File(path) => read(path),
        }
    }
}

/// What a login answers to the server's nonce.
pub(crate) struct Answer(Auth);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(***)")
    }
}

impl Login {
    /// The answer to `nonce`. Reads the files; also used to find mistakes in them before any connection.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Answer, LoginError> {
        let mut auth = Auth::new();
        match self {
            Login::None => {}
            Login::User { user, password } => {
                auth.username = Some(user.clone());
                auth.password = Some(password.read()?);
            }
            Login::Token(token) => auth.token = Some(token.read()?),
            Login::Nkey(path) => {
                let seed = read(path)?;
                let key = key_pair(path, &seed)?;
                auth.nkey = Some(key.public_key());
                auth.signature = Some(sign(path, &key, nonce)?);
            }
            Login::Credentials(path) => {
                let content = read(path)?;
                let part = |name: &str| {
                    section(&content, name).ok_or_else(|| LoginError {
                        path: path.clone(),
                        reason: format!("holds no {name}; a credentials file is made by `nsc generate creds`"),
                    })
                };
                let key = key_pair(path, part("USER NKEY SEED")?)?;
                auth.jwt = Some(part("NATS USER JWT")?.to_owned());
                auth.signature = Some(sign(path, &key, nonce)?);
            }
        }
        Ok(Answer(auth))
    }

    /// The same for the client, off the runtime's threads.
    pub(crate) async fn answer_server(self, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        let answer = tokio::task::spawn_blocking(move || self.answer(&nonce)).await.map_err(AuthError::new)?;
        answer.map(|a| a.0).map_err(AuthError::new)
    }
}

fn read(path: &Path) -> Result<String, LoginError> {
    let refuse = |reason: String| LoginError { path: path.to_owned(), reason };
    let content = std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
    let content = content.trim();
    if content.is_empty() { Err(refuse("is empty".into())) } else { Ok(content.to_owned()) }
}

fn key_pair(path: &Path, seed: &str) -> Result<KeyPair, LoginError> {
    KeyPair::from_seed(seed)
        .map_err(|e| LoginError { path: path.to_owned(), reason: format!("does not hold a good nkey seed: {e}") })
}

fn sign(path: &Path, key: &KeyPair, nonce: &[u8]) -> Result<Vec<u8>, LoginError> {
    key.sign(nonce).map_err(|e| LoginError { path: path.to_owned(), reason: format!("its key cannot sign: {e}") })
}

/// The line between `-----BEGIN name-----` and `------END name------`.
fn section<'a>(content: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = content.lines().map(str::trim);
    let marks =
        |line: &str, word: &str| line.starts_with("---") && line.trim_matches('-').trim() == format!("{word} {name}");
    lines.find(|line| marks(line, "BEGIN"))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_credentials_file_gives_the_jwt_and_signs_the_nonce() {
        let key = KeyPair::new_user();
        let content = format!(
            "-----BEGIN NATS USER JWT-----\nabc.def.ghi\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\r\n{}\r\n------END USER NKEY SEED------\r\n",
            key.seed().unwrap()
        );
        let file = file(&content);
        let answer = Login::Credentials(file.path().to_owned()).answer(b"nonce").unwrap();
        assert_eq!(answer.0.jwt.as_deref(), Some("abc.def.ghi"));
        assert!(key.verify(b"nonce", answer.0.signature.as_deref().unwrap()).is_ok());
        assert!(!format!("{answer:?}").contains("abc"));
    }

    #[test]
    fn a_renewed_password_file_is_read_again() {
        let file = file("first\n");
        let login = Login::User { user: "gw".into(), password: Source::File(file.path().to_owned()) };
        assert_eq!(login.answer(b"").unwrap().0.password.as_deref(), Some("first"));
        std::fs::write(file.path(), "second\n").unwrap();
        assert_eq!(login.answer(b"").unwrap().0.password.as_deref(), Some("second"));
    }

    #[test]
    fn bad_files_are_named_with_the_reason() {
        let empty = file(" \n");
        let error = Login::Token(Source::File(empty.path().to_owned())).answer(b"").unwrap_err().to_string();
        assert!(error.contains("is empty") && error.contains(&empty.path().display().to_string()), "{error}");
        let error = Login::Nkey(file("SUnope").path().to_owned()).answer(b"").unwrap_err().to_string();
        assert!(error.contains("cannot be read") || error.contains("nkey seed"), "{error}");
        let junk = file("just text");
        let error = Login::Credentials(junk.path().to_owned()).answer(b"").unwrap_err().to_string();
        assert!(error.contains("USER NKEY SEED"), "{error}");
    }
}
