//! A stand-in for Hugging Face, for clusters that have no way out: `fake-hub ADDRESS FOLDER`.

use std::path::PathBuf;

use ampd_testkit::fake_hub;
use anyhow::Context as _;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let address = arguments.next().context("fake-hub ADDRESS FOLDER")?;
    let folder: PathBuf = arguments.next().context("fake-hub ADDRESS FOLDER")?.into();
    let listener = TcpListener::bind(address.to_string_lossy().as_ref()).await?;
    Ok(fake_hub::serve(listener, &folder).await?)
}
