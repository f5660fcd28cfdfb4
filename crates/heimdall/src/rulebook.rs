//! The rules in force: those that come with the program, the operator's folder, and what tenants keep here; with their modes.
//!
//! Invariants:
//! - every change goes one road: all rules are compiled together, and the stream takes them from its next batch on; when it is busy,
//!   the next look at the folder tries again;
//! - a tenant's rule is stored before it is in force, and only when it loads beside all others;
//! - what is shown of one tenant's rules is shown to nobody else.
//!
//! Not here: what a rule may say (`heimdall-detect`), who may change one (`heimdall-api`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use heimdall_api::desk::{
    DeskError, Kept, MODES_MAX, OWN_RULES_MAX, RULE_BYTES_MAX, RULE_DOCUMENTS_MAX, RuleOrigin, RuleSource,
};
use heimdall_api::{RuleFault, RuleView, compile_rules};
use heimdall_detect::{DetectConfig, Mode, Modes, RuleError, RuleFile, RuleInfo, RuleKind, RuleSet};
use heimdall_metastore::{
    Document, DocumentCursor, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX,
};
use heimdall_model::{Clock, Tenant};
use heimdall_stream::{Command, Stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::rule_files::{self, Fingerprint};

/// Documents of tenants' own rules.
const OWN_KIND: &str = "own-rule";
/// Documents of modes.
const MODE_KIND: &str = "rule-mode";
/// Before the names of what stands for the files of tenants: no path looks so.
const OWN_PREFIX: &str = "own://";
/// Before the names of a tenant's rules, as they are shown to it.
const SHOWN_PREFIX: &str = "own/";

/// A tenant's rule as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Own {
    yaml: String,
    #[serde(flatten)]
    kept: Kept,
}

/// A mode as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct SetMode {
    mode: Mode,
    by: String,
}

/// A rule as it is shown, and to whom.
struct Shown {
    view: RuleView,
    info: RuleInfo,
    owner: Option<Tenant>,
}

#[derive(Default)]
struct Book {
    /// Everybody's.
    shared: Vec<RuleFile>,
    seen: Fingerprint,
    own: BTreeMap<(Tenant, String), Own>,
    modes: Modes,
    mode_counts: BTreeMap<Tenant, usize>,
    shown: Arc<Vec<Shown>>,
    faults: Arc<Vec<(RuleFault, Option<Tenant>)>>,
    /// The stream did not take the last change.
    is_waiting: bool,
}

/// The rules in force.
pub(crate) struct Rulebook {
    dir: Option<PathBuf>,
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    stream: OnceLock<Arc<Stream>>,
    /// Held while rules are compiled: seconds, where they are thousands.
    book: Mutex<Book>,
    /// What is shown of it, for those who must not wait.
    shelf: Mutex<Shelf>,
}

/// The rules as they are shown.
#[derive(Clone, Default)]
struct Shelf {
    shown: Arc<Vec<Shown>>,
    faults: Arc<Vec<(RuleFault, Option<Tenant>)>>,
    modes: Modes,
}

impl Rulebook {
    /// Reads and compiles all rules. What does not load is named in the log, and the others are in force.
    ///
    /// # Errors
    /// The metastore cannot be read.
    pub(crate) fn open(
        dir: Option<PathBuf>,
        store: Arc<dyn Metastore>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Rulebook, RuleSet), MetastoreError> {
        let mut book = Book::default();
        for document in all(store.as_ref(), OWN_KIND)? {
            match serde_json::from_str::<Own>(&document.body) {
                Ok(own) => drop(book.own.insert((document.tenant, document.key), own)),
                Err(error) => tracing::error!(%error, rule = document.id, "a kept rule cannot be read"),
            }
        }
        for document in all(store.as_ref(), MODE_KIND)? {
            match serde_json::from_str::<SetMode>(&document.body) {
                Ok(set) => book.set_mode(&document.tenant, &document.key, set.mode),
                Err(error) => tracing::error!(%error, rule = document.id, "a kept mode cannot be read"),
            }
        }
        let rulebook = Rulebook {
            dir,
            store,
            clock,
            stream: OnceLock::new(),
            book: Mutex::new(book),
            shelf: Mutex::default(),
        };
        let rules = {
            let mut book = rulebook.book.lock();
            rulebook.read_folder(&mut book);
            let (rules, faults) = book.compile(None);
            rulebook.show(&mut book, &rules, &faults);
            rules
        };
        Ok((rulebook, rules))
    }

    /// The stream that takes changes from now on.
    pub(crate) fn attach(&self, stream: &Arc<Stream>) {
        let _ = self.stream.set(Arc::clone(stream));
    }

    /// Looks whether the folder changed, or a change is still waiting; then all rules are loaded anew. Blocks on disk.
    pub(crate) fn look(&self) {
        let mut book = self.book.lock();
        let now = self.dir.as_deref().map(rule_files::fingerprint).unwrap_or_default();
        if now == book.seen && !book.is_waiting {
            return;
        }
        self.read_folder(&mut book);
        let (rules, faults) = book.compile(None);
        let count = rules.rules().len();
        self.show(&mut book, &rules, &faults);
        if self.put_in_force(&mut book, rules) {
            tracing::info!(rules = count, "rules reloaded");
        }
    }

    fn read_folder(&self, book: &mut Book) {
        book.shared =
            rule_files::built_in().iter().map(|(name, text)| RuleFile::shared(name, text)).collect();
        let Some(dir) = &self.dir else { return };
        // Before the files: one that changes meanwhile is read again.
        book.seen = rule_files::fingerprint(dir);
        match rule_files::read(std::slice::from_ref(dir)) {
            Ok(more) => book.shared.extend(more.iter().map(|(name, text)| RuleFile::shared(name, text))),
            Err(error) => tracing::error!(%error, dir = %dir.display(), "rules folder could not be read"),
        }
    }

    /// Takes over what is shown of these rules.
    fn show(&self, book: &mut Book, rules: &RuleSet, faults: &[RuleError]) {
        book.show(rules, faults);
        let (shown, faults) = (Arc::clone(&book.shown), Arc::clone(&book.faults));
        *self.shelf.lock() = Shelf { shown, faults, modes: book.modes.clone() };
    }

    /// Hands the rules to the stream; `false` when it is busy, and the next look tries again.
    fn put_in_force(&self, book: &mut Book, rules: RuleSet) -> bool {
        let Some(stream) = self.stream.get() else { return true };
        let is_taken = stream.command(Command::SetRules(Box::new(rules)));
        book.is_waiting = !is_taken;
        is_taken
    }

    /// Every rule of a tenant, with what the configuration says of rehearsal.
    pub(crate) fn rules(&self, tenant: &Tenant, config: &DetectConfig) -> Vec<RuleView> {
        let shelf = self.shelf.lock().clone();
        let of = shelf.shown.iter().filter(|shown| shown.is_for(tenant));
        of.map(|shown| {
            let detector = if shown.info.kind == RuleKind::Signature { "signature" } else { "sigma" };
            let is_named = config.dry_run.iter().any(|name| *name == shown.view.id || name == detector);
            let configured = if is_named { Mode::DryRun } else { Mode::On };
            let mode = shelf.modes.get(tenant, &shown.view.id).unwrap_or(configured);
            RuleView { mode: mode.as_str(), ..shown.view.clone() }
        })
        .collect()
    }

    /// What does not load: everybody's, and the tenant's.
    pub(crate) fn faults(&self, tenant: &Tenant) -> Vec<RuleFault> {
        let faults = Arc::clone(&self.shelf.lock().faults);
        let of = faults.iter().filter(|(_, owner)| owner.as_ref().is_none_or(|owner| owner == tenant));
        of.map(|(fault, _)| fault.clone()).collect()
    }

    /// See [`heimdall_api::Desk::rule`].
    pub(crate) fn rule(&self, tenant: &Tenant, id: &str) -> Option<RuleSource> {
        let book = self.book.lock();
        let shown = book.shown.iter().find(|shown| shown.is_for(tenant) && shown.view.id == id);
        let own_id = match shown {
            Some(shown) if shown.owner.is_some() => own_id_of(&shown.info.file).unwrap_or(id),
            _ => id,
        };
        if let Some(own) = book.own.get(&(tenant.clone(), own_id.to_owned())) {
            return Some(own_source(own_id, own));
        }
        let shown = shown?;
        let file = book.shared.iter().find(|file| file.name == shown.info.file)?;
        Some(RuleSource {
            yaml: document_at(&file.text, shown.info.line),
            file: file.name.clone(),
            line: shown.info.line,
            origin: shown.view.origin,
            kept: None,
        })
    }

    /// See [`heimdall_api::Desk::is_shared`].
    pub(crate) fn is_shared(&self, id: &str) -> bool {
        let shown = Arc::clone(&self.shelf.lock().shown);
        shown.iter().any(|shown| shown.owner.is_none() && shown.view.id == id)
    }

    /// See [`heimdall_api::Desk::compiled`].
    pub(crate) fn compiled(&self, tenant: &Tenant, id: &str) -> Result<RuleSet, DeskError> {
        let book = self.book.lock();
        let shown = book.shown.iter().find(|shown| shown.is_for(tenant) && shown.view.id == id);
        let shown = shown.ok_or_else(|| no_rule(id))?;
        let is_pipeline =
            |file: &&RuleFile| file.text.lines().any(|line| line.starts_with("transformations:"));
        let mut files: Vec<RuleFile> = book.shared.iter().filter(is_pipeline).cloned().collect();
        let file = match &shown.owner {
            Some(owner) => {
                let own_id = own_id_of(&shown.info.file).unwrap_or(id);
                let own = book.own.get(&(owner.clone(), own_id.to_owned())).ok_or_else(|| no_rule(id))?;
                own_file(owner, own_id, &own.yaml)
            }
            None => {
                let name = &shown.info.file;
                let file = book.shared.iter().find(|file| file.name == *name).ok_or_else(|| no_rule(id))?;
                match shown.info.kind {
                    // What it correlates stands in its file, as far as it can be tried alone.
                    RuleKind::Correlation => file.clone(),
                    _ => RuleFile::shared(name, &document_at(&file.text, shown.info.line)),
                }
            }
        };
        files.push(file);
        let (rules, _) = compile_rules(&files);
        let alone = rules.rules().iter().find(|rule| rule.id == id).map(RuleSet::alone);
        Ok(alone.unwrap_or(rules))
    }

    /// See [`heimdall_api::Desk::put_rule`].
    pub(crate) fn put(
        &self,
        tenant: &Tenant,
        id: &str,
        yaml: &str,
        revision: u64,
        by: &str,
    ) -> Result<RuleSource, DeskError> {
        let file = own_file(tenant, id, yaml);
        check_alone(&file, id)?;
        let mut book = self.book.lock();
        let infos = compile_rules(std::slice::from_ref(&file)).0.infos();
        if let Some(taken) = infos.iter().find(|info| book.is_shared(&info.id)) {
            return Err(DeskError::NotOwn { id: taken.id.clone() });
        }
        let key = (tenant.clone(), id.to_owned());
        let known = book.own.get(&key).map(|own| own.kept.clone());
        let current = known.as_ref().map_or(0, |kept| kept.revision);
        if current != revision {
            return Err(DeskError::Revision { id: id.to_owned(), current });
        }
        let count = book.own.keys().filter(|(owner, _)| owner == tenant).count();
        if known.is_none() && count >= OWN_RULES_MAX {
            return Err(DeskError::TooMany { what: "rules", max: OWN_RULES_MAX });
        }
        let now = self.clock.now();
        let kept = Kept {
            revision: current + 1,
            created_by: known.as_ref().map_or_else(|| by.to_owned(), |kept| kept.created_by.clone()),
            created_at: known.as_ref().map_or(now, |kept| kept.created_at),
            updated_by: by.to_owned(),
            updated_at: now,
        };
        let (rules, faults) = book.compile(Some(&file));
        let own_faults: Vec<RuleError> =
            faults.iter().filter(|fault| fault.file == file.name).cloned().map(discreet).collect();
        if !own_faults.is_empty() {
            return Err(DeskError::Invalid { faults: own_faults });
        }
        let own = Own { yaml: yaml.to_owned(), kept };
        let document = Document {
            id: document_id(tenant, id),
            tenant: tenant.clone(),
            at: now,
            state: String::new(),
            key: id.to_owned(),
            body: serde_json::to_string(&own).expect("plain data serialises"),
        };
        self.store.documents().put(OWN_KIND, &[document])?;
        let source = own_source(id, &own);
        book.own.insert(key, own);
        self.show(&mut book, &rules, &faults);
        self.put_in_force(&mut book, rules);
        Ok(source)
    }

    /// See [`heimdall_api::Desk::delete_rule`].
    pub(crate) fn delete(&self, tenant: &Tenant, id: &str, revision: Option<u64>) -> Result<(), DeskError> {
        let mut book = self.book.lock();
        let key = (tenant.clone(), id.to_owned());
        let Some(own) = book.own.get(&key) else {
            let is_shared = book.is_shared(id);
            return Err(if is_shared { DeskError::NotOwn { id: id.to_owned() } } else { no_rule(id) });
        };
        let current = own.kept.revision;
        if revision.is_some_and(|revision| revision != current) {
            return Err(DeskError::Revision { id: id.to_owned(), current });
        }
        let document = document_id(tenant, id);
        self.store.documents().delete(OWN_KIND, &document)?;
        self.store.documents().delete(MODE_KIND, &document)?;
        book.own.remove(&key);
        book.forget_mode(tenant, id);
        let (rules, faults) = book.compile(None);
        self.show(&mut book, &rules, &faults);
        self.put_in_force(&mut book, rules);
        Ok(())
    }

    /// See [`heimdall_api::Desk::set_mode`].
    pub(crate) fn set_mode(&self, tenant: &Tenant, id: &str, mode: Mode, by: &str) -> Result<(), DeskError> {
        let mut book = self.book.lock();
        if !book.shown.iter().any(|shown| shown.is_for(tenant) && shown.view.id == id) {
            return Err(no_rule(id));
        }
        let is_new = book.modes.get(tenant, id).is_none();
        if is_new && book.mode_counts.get(tenant).is_some_and(|count| *count >= MODES_MAX) {
            return Err(DeskError::TooMany { what: "modes", max: MODES_MAX });
        }
        let set = SetMode { mode, by: by.to_owned() };
        let document = Document {
            id: document_id(tenant, id),
            tenant: tenant.clone(),
            at: self.clock.now(),
            state: mode.as_str().to_owned(),
            key: id.to_owned(),
            body: serde_json::to_string(&set).expect("plain data serialises"),
        };
        self.store.documents().put(MODE_KIND, &[document])?;
        book.set_mode(tenant, id, mode);
        self.shelf.lock().modes = book.modes.clone();
        if let Some(stream) = self.stream.get()
            && !stream.command(Command::SetModes(Box::new(book.modes.clone())))
        {
            book.is_waiting = true;
        }
        Ok(())
    }
}

impl Shown {
    fn is_for(&self, tenant: &Tenant) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner == tenant)
    }
}

impl Book {
    fn is_shared(&self, id: &str) -> bool {
        self.shown.iter().any(|shown| shown.owner.is_none() && shown.view.id == id)
    }

    fn set_mode(&mut self, tenant: &Tenant, id: &str, mode: Mode) {
        if self.modes.get(tenant, id).is_none() {
            *self.mode_counts.entry(tenant.clone()).or_default() += 1;
        }
        self.modes.set(tenant, id, mode);
    }

    fn forget_mode(&mut self, tenant: &Tenant, id: &str) {
        if self.modes.forget(tenant, id) {
            self.mode_counts.entry(tenant.clone()).and_modify(|count| *count = count.saturating_sub(1));
        }
    }

    /// Compiles all rules together, with a file in place of the one of its name.
    fn compile(&self, candidate: Option<&RuleFile>) -> (RuleSet, Vec<RuleError>) {
        let own = self.own.iter().map(|((tenant, id), own)| own_file(tenant, id, &own.yaml));
        let others = own.filter(|file| candidate.is_none_or(|candidate| candidate.name != file.name));
        let files: Vec<RuleFile> =
            self.shared.iter().cloned().chain(others).chain(candidate.cloned()).collect();
        let (rules, faults) = compile_rules(&files);
        (rules.with_modes(self.modes.clone()), faults)
    }

    /// Takes over what is shown of these rules.
    fn show(&mut self, rules: &RuleSet, faults: &[RuleError]) {
        for fault in faults {
            tracing::warn!(rule = %fault, "a rule does not load; the others are in force");
        }
        let own = |file: &str| file.starts_with(OWN_PREFIX).then(|| owner_of(file)).flatten();
        let faults = faults
            .iter()
            .map(|fault| {
                let owner = own(&fault.file);
                let RuleError { file, line, column, reason, .. } =
                    if owner.is_some() { discreet(fault.clone()) } else { fault.clone() };
                let file = own_id_of(&file).map_or(file.clone(), |id| format!("{SHOWN_PREFIX}{id}"));
                (RuleFault { file, line, column, reason }, owner)
            })
            .collect();
        self.faults = Arc::new(faults);
        let mut shown: Vec<Shown> = rules.infos().into_iter().map(|info| self.shown(rules, info)).collect();
        shown.sort_by(|a, b| a.view.id.cmp(&b.view.id));
        self.shown = Arc::new(shown);
    }

    fn shown(&self, rules: &RuleSet, info: RuleInfo) -> Shown {
        let is_own = info.file.starts_with(OWN_PREFIX);
        let owner = if is_own { owner_of(&info.file) } else { None };
        let own = owner.as_ref().zip(own_id_of(&info.file));
        let own = own.and_then(|(owner, id)| self.own.get(&(owner.clone(), id.to_owned())));
        let (when, mitigation) = said(rules, &info);
        let view = RuleView {
            id: info.id.clone(),
            title: info.title.clone(),
            description: info.description.clone(),
            severity: info.severity,
            dataset: info.dataset,
            when,
            mitigation,
            enabled: info.enabled,
            file: own_id_of(&info.file).map_or_else(|| info.file.clone(), |id| format!("{SHOWN_PREFIX}{id}")),
            kind: info.kind.as_str(),
            level: info.level,
            tags: info.tags.clone(),
            origin: match () {
                () if is_own => RuleOrigin::Own,
                () if rule_files::is_built_in(&info.file) => RuleOrigin::BuiltIn,
                () => RuleOrigin::Folder,
            },
            mode: Mode::On.as_str(),
            revision: own.map_or(0, |own| own.kept.revision),
        };
        Shown { view, info, owner }
    }
}

/// The condition of a rule in words, and what to do about its findings.
fn said(rules: &RuleSet, info: &RuleInfo) -> (String, Vec<String>) {
    let rule_out = |others: &[String]| others.iter().map(|other| format!("Rule out: {other}")).collect();
    let is_it = |meta: &heimdall_sigma::Metadata| meta.id == info.id && meta.file == info.file;
    match info.kind {
        RuleKind::Signature => {
            let mut rules = rules.rules().iter();
            let rule = rules.find(|rule| rule.id == info.id && rule.file == info.file);
            rule.map(|rule| (rule.when.clone(), rule.mitigation.clone())).unwrap_or_default()
        }
        RuleKind::Sigma => {
            let mut metas = rules.sigma().metas();
            let meta = metas.find(|(meta, _)| is_it(meta));
            meta.map(|(meta, source)| (format!("Sigma: {source}"), rule_out(&meta.falsepositives)))
                .unwrap_or_default()
        }
        RuleKind::Correlation => {
            let mut all = rules.sigma().correlations().iter();
            let one = all.find(|one| is_it(&one.meta));
            one.map(|one| {
                let over = format!("Sigma correlation of {}", one.rules.join(", "));
                (over, rule_out(&one.meta.falsepositives))
            })
            .unwrap_or_default()
        }
    }
}

/// Whether a text can be a rule of this id.
fn check_alone(file: &RuleFile, id: &str) -> Result<(), DeskError> {
    if file.text.len() > RULE_BYTES_MAX {
        let reason = format!("is larger than {RULE_BYTES_MAX} bytes");
        return Err(DeskError::Field { field: "yaml", reason });
    }
    let (rules, faults) = compile_rules(std::slice::from_ref(file));
    if !faults.is_empty() {
        return Err(DeskError::Invalid { faults: faults.into_iter().map(discreet).collect() });
    }
    let infos = rules.infos();
    if infos.len() > RULE_DOCUMENTS_MAX {
        let reason = format!("holds more than {RULE_DOCUMENTS_MAX} rules");
        return Err(DeskError::Field { field: "yaml", reason });
    }
    if !infos.iter().any(|info| info.id == id) {
        let reason = match infos.first() {
            Some(other) => format!("is of the rule `{}`, not of `{}`", other.id, short(id)),
            None => "holds no rule".to_owned(),
        };
        return Err(DeskError::Field { field: "yaml", reason });
    }
    Ok(())
}

/// The fault without the files of other tenants.
fn discreet(fault: RuleError) -> RuleError {
    let names_another = fault.reason.contains(OWN_PREFIX);
    let reason = match fault.reason.split_once(" by the rule at ") {
        Some((taken, _)) if names_another => format!("{taken} already"),
        _ => fault.reason,
    };
    RuleError { reason, ..fault }
}

/// What stands for the file of a tenant's rule.
fn own_file(tenant: &Tenant, id: &str, yaml: &str) -> RuleFile {
    let name = format!("{OWN_PREFIX}{tenant}/{id}");
    RuleFile { owner: Some(tenant.clone()), ..RuleFile::shared(&name, yaml) }
}

fn own_source(id: &str, own: &Own) -> RuleSource {
    RuleSource {
        yaml: own.yaml.clone(),
        file: format!("{SHOWN_PREFIX}{id}"),
        line: 1,
        origin: RuleOrigin::Own,
        kept: Some(own.kept.clone()),
    }
}

fn owner_of(file: &str) -> Option<Tenant> {
    let (tenant, _) = file.strip_prefix(OWN_PREFIX)?.split_once('/')?;
    Tenant::new(tenant).ok()
}

fn own_id_of(file: &str) -> Option<&str> {
    Some(file.strip_prefix(OWN_PREFIX)?.split_once('/')?.1)
}

fn document_id(tenant: &Tenant, id: &str) -> String {
    format!("{tenant}/{id}")
}

fn no_rule(id: &str) -> DeskError {
    DeskError::NotFound { what: "rule", id: short(id) }
}

fn short(id: &str) -> String {
    id.chars().take(80).collect()
}

/// The document of a file that begins at a line.
fn document_at(text: &str, line: usize) -> String {
    let lines = text.lines().skip(line.saturating_sub(1));
    let lines: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    format!("{}\n", lines.join("\n").trim_matches('\n'))
}

/// Every document of a kind, oldest first.
pub(crate) fn all(store: &dyn Metastore, kind: &str) -> Result<Vec<Document>, MetastoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.documents().list(kind, &DocumentFilter::default(), after.as_ref(), PAGE_ROWS_MAX)?;
        let is_last = page.len() < PAGE_ROWS_MAX;
        after = page.last().map(|last| DocumentCursor { at: last.at, id: last.id.clone() });
        found.extend(page);
        if is_last {
            found.reverse();
            return Ok(found);
        }
    }
}
