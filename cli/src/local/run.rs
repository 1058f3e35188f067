//! One run of a service, from nothing to nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ampd_worker::protocol::http_client;
use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::arguments::Shared;
use super::banner::banner;
use super::cluster::{self, Cluster, Tasks};
use super::members::Members;
use super::monitor::{self, Health, Report};
use super::notices::Notices;
use super::prepare::{Prepared, prepare};
use super::run_dir::RunDir;
use super::screen::Screen;
use super::state_file::{Process, State, StateFile};
use super::table::Row;
use super::{Args, front, signals};
use crate::cache;

/// How often the table is drawn though nothing is known to have changed.
const REDRAW: Duration = Duration::from_secs(1);
/// How long connections through the front may go on at the end; the sidecars end theirs by then.
const FRONT_GRACE: Duration = Duration::from_secs(8);

/// Runs the service until it is asked to stop.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    signals::watch(stop.clone())?;
    if let Some(path) = &args.state_file {
        cache::probe(path).context("--state-file")?;
    }
    // Taken first: a port in use is told before a model is fetched.
    let listener = listen(args.port).await?;
    let prepared = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        prepared = prepare(&args, &stop) => prepared?,
    };
    if stop.is_cancelled() {
        return Ok(());
    }
    let mut run_dir = RunDir::create()?;
    let result = serve(&args, prepared, listener, &run_dir, &stop).await;
    if args.keep_run_dir || result.is_err() {
        run_dir.keep();
        eprintln!("topology and logs are in {}", run_dir.path().display());
    }
    result
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("--port {port}: the port is in use; choose another, or --port 0 for any free one")
        }
        Err(error) => Err(error).with_context(|| format!("--port {port}: cannot listen")),
    }
}

async fn serve(
    args: &Args,
    prepared: Prepared,
    listener: TcpListener,
    run_dir: &RunDir,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    let Prepared { plan, profiles } = prepared;
    let counts = (plan.decode.threads.len(), plan.prefill.threads.len());
    let (namespace, service) = (&plan.service.namespace, &plan.service.name);
    let members = Arc::new(Members::new(namespace, service, counts, run_dir.path())?);
    let certificates = run_dir.write_certificates(namespace, service)?;
    let model_name = plan.service.model.name.clone();
    let topology = members.topology_path().to_owned();
    let shared = Arc::new(Shared { plan, topology, certificates, profiles });
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let (notices, told) = Notices::new();
    let (cluster, mut tasks) = cluster::start(&program, &shared, members, run_dir, &notices)?;

    let (reports, seen) = watch::channel(Vec::new());
    let end = CancellationToken::new();
    let ready = cluster.ready_sidecars.subscribe();
    let front = tokio::spawn(front::serve(listener, ready, end.clone(), FRONT_GRACE));
    let http = http_client(None)?;
    let monitor = tokio::spawn(monitor::watch(Arc::clone(&cluster), http, reports, end.clone()));

    let mut view = View {
        url,
        model_name,
        cluster,
        seen,
        told,
        screen: Screen::new(),
        file: StateFile::new(args.state_file.clone()),
        run_dir,
        was_ready: false,
    };
    let result = view.follow(&mut tasks, stop).await;
    view.screen.clear();
    if result.is_ok() {
        view.screen.say("stopping");
    }
    end.cancel();
    tasks.stop().await;
    // Both end by themselves; a task that panicked has nothing left to be waited for.
    let _ = tokio::join!(front, monitor);
    view.say_notices();
    view.file.remove();
    result
}

/// What is shown of the run, on the screen and in the state file.
struct View<'a> {
    url: String,
    model_name: String,
    cluster: Arc<Cluster>,
    seen: watch::Receiver<Vec<Report>>,
    told: mpsc::Receiver<String>,
    screen: Screen,
    file: StateFile,
    run_dir: &'a RunDir,
    was_ready: bool,
}

impl View<'_> {
    /// Shows the run until it is to stop or cannot go on.
    async fn follow(&mut self, tasks: &mut Tasks, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut changed = self.cluster.changed.subscribe();
        loop {
            self.update()?;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                error = tasks.failed() => return Err(error.into()),
                _ = changed.changed() => {}
                Ok(()) = self.seen.changed() => {}
                Some(text) = self.told.recv() => self.screen.say(&text),
                () = tokio::time::sleep(REDRAW) => {}
            }
        }
    }

    fn update(&mut self) -> anyhow::Result<()> {
        let reports = self.seen.borrow_and_update().clone();
        let cluster = &self.cluster;
        let (rows, processes): (Vec<Row>, Vec<Process>) = cluster.members.with(|list| {
            let both = list.iter().enumerate().map(|(index, member)| {
                let (child, report) = (cluster.state(index), reports.get(index).cloned().unwrap_or_default());
                let process = Process::new(member, child.pid, child.restarts);
                (Row { name: member.name.clone(), kind: member.kind, child, report }, process)
            });
            both.unzip()
        });
        let ready = rows.iter().all(|row| row.child.pid.is_some() && row.report.health == Health::Ready);
        let state = State { url: &self.url, ready, run_dir: self.run_dir.path(), processes };
        if let Some(notice) = self.file.update(&state)? {
            self.screen.say(&notice);
        }
        if ready && !self.was_ready {
            self.was_ready = true;
            self.screen.say(&banner(&self.url, &self.model_name));
        }
        self.screen.show(&rows);
        Ok(())
    }

    fn say_notices(&mut self) {
        while let Ok(text) = self.told.try_recv() {
            self.screen.say(&text);
        }
    }
}
