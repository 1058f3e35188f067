//! The certificates by which a cluster's components know each other, and the configurations of their clients. They are
//! made anew for each cluster and die with its folder.

use std::path::PathBuf;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::state::State;

/// The API server's port.
pub(crate) const PORT: u16 = 6443;
/// The administrator's configuration.
const ADMIN: &str = "admin";

/// Those who sign.
#[derive(Debug)]
pub(crate) struct Pki {
    state: State,
    clients: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Makes everything that the control plane needs, for an API server with these names.
    pub(crate) fn make(state: &State, names: &[String]) -> anyhow::Result<Self> {
        let clients = authority(state, "ca")?;
        let front = authority(state, "front-proxy-ca")?;
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        certify(state, &clients, "apiserver", "kube-apiserver", None, names, server)?;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        certify(state, &front, "front-proxy", "front-proxy", None, &[], client)?;
        // The API server is every kubelet's administrator.
        let pki = Self { state: state.clone(), clients };
        pki.client("apiserver-kubelet", "kube-apiserver", Some("system:masters"))?;
        let accounts = KeyPair::generate()?;
        state.write("pki/accounts.key", &accounts.serialize_pem())?;
        state.write("pki/accounts.pub", &accounts.public_key_pem())?;
        pki.kubeconfig(ADMIN, "admin", Some("system:masters"))?;
        Ok(pki)
    }

    /// Writes the configuration of a client that is `user` to the API server.
    pub(crate) fn kubeconfig(&self, name: &str, user: &str, group: Option<&str>) -> anyhow::Result<PathBuf> {
        self.client(name, user, group)?;
        let file = |name: &str| self.state.path(&format!("pki/{name}")).display().to_string();
        let server = format!("https://{}:{PORT}", super::network::address(1));
        let (authority, certificate, key) =
            (file("ca.crt"), file(&format!("{name}.crt")), file(&format!("{name}.key")));
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: ampd
clusters: [{{name: ampd, cluster: {{server: {server:?}, certificate-authority: {authority:?}}}}}]
contexts: [{{name: ampd, context: {{cluster: ampd, user: {user:?}}}}}]
users: [{{name: {user:?}, user: {{client-certificate: {certificate:?}, client-key: {key:?}}}}}]
"
        );
        self.state.write(&format!("{name}.kubeconfig"), &text)?;
        Ok(kubeconfig(&self.state, name))
    }

    fn client(&self, name: &str, user: &str, group: Option<&str>) -> anyhow::Result<()> {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        certify(&self.state, &self.clients, name, user, group, &[], purpose)
    }
}

/// Where the administrator's configuration is.
pub(crate) fn admin(state: &State) -> PathBuf {
    kubeconfig(state, ADMIN)
}

/// Where a client's configuration is.
pub(crate) fn kubeconfig(state: &State, name: &str) -> PathBuf {
    state.path(&format!("{name}.kubeconfig"))
}

fn authority(state: &State, name: &str) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key).with_context(|| format!("cannot certify {name}"))?;
    state.write(&format!("pki/{name}.crt"), &certificate.pem())?;
    state.write(&format!("pki/{name}.key"), &key.serialize_pem())?;
    Ok(Issuer::new(parameters, key))
}

fn certify(
    state: &State,
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    user: &str,
    group: Option<&str>,
    names: &[String],
    purpose: ExtendedKeyUsagePurpose,
) -> anyhow::Result<()> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        parameters.distinguished_name.push(DnType::OrganizationName, group);
    }
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, issuer).with_context(|| format!("cannot certify {name}"))?;
    state.write(&format!("pki/{name}.crt"), &certificate.pem())?;
    state.write(&format!("pki/{name}.key"), &key.serialize_pem())
}
