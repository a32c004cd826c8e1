//! Completes or undoes a run that was interrupted.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;

use tracing::{info, warn};

use super::error::{V7Error, failed};
use super::folder::{EXPORTING, Folder, change, remove, rename, sync, v7_name, v7_numbers};
use super::manifest::{Listed, Manifest};

/// Completes an import that has taken effect, and undoes an export that has not. Afterwards there
/// are files of one kind only; otherwise it is an error.
pub(super) fn settle(folder: Folder<'_>) -> Result<(), V7Error> {
    // This folder was not in use yet.
    remove(&folder.importing())?;
    let has_segments = folder.has_segments()?;
    if has_segments && let Some(manifest) = Manifest::read(&folder.segments())? {
        refuse_others(folder, &manifest)?;
        set_aside(folder, &manifest)?;
    }
    if fs::exists(folder.exporting()).map_err(failed(format!("look for {EXPORTING}")))? {
        end_export(folder, has_segments)?;
    }
    match folder.v7_numbers()?.first() {
        Some(number) if has_segments => Err(V7Error::Both(v7_name(*number))),
        _ => Ok(()),
    }
}

/// Makes sure that beanstalkd's files in the directory are those of the manifest. Otherwise the
/// work of another server would be undone.
fn refuse_others(folder: Folder<'_>, manifest: &Manifest) -> Result<(), V7Error> {
    for number in folder.v7_numbers()? {
        let name = v7_name(number);
        if !manifest.has(folder.path(), &name)? {
            return Err(V7Error::Both(name));
        }
    }
    Ok(())
}

/// Moves the files of the manifest, which are imported, out of the way. The manifest is removed
/// last, so this can be repeated if it is interrupted.
pub(super) fn set_aside(folder: Folder<'_>, manifest: &Manifest) -> Result<(), V7Error> {
    let aside = folder.path().join(&manifest.aside);
    match change(|| DirBuilder::new().mode(0o700).create(&aside)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(format!("make {}", aside.display()))(error));
        }
        _ => folder.sync()?,
    }
    for number in folder.v7_numbers()? {
        let name = v7_name(number);
        let to = aside.join(&name);
        // That file was not there when the manifest was written.
        if fs::exists(&to).map_err(failed(format!("look for {}", to.display())))? {
            return Err(V7Error::Both(name));
        }
        rename(&folder.path().join(&name), &to)?;
    }
    // After a power cut, each file must be in one of the two places.
    sync(&aside)?;
    folder.sync()?;
    Manifest::remove(&folder.segments())?;
    info!(
        files = manifest.files.len(),
        folder = %aside.display(),
        "beanstalkd's files are kept there: they are no longer needed"
    );
    Ok(())
}

/// Ends an export that was interrupted. It has taken effect if our segments are out of the way;
/// otherwise it is undone.
fn end_export(folder: Folder<'_>, has_segments: bool) -> Result<(), V7Error> {
    let exporting = folder.exporting();
    if has_segments {
        if let Some(manifest) = Manifest::read(&exporting)? {
            refuse_others(folder, &manifest)?;
            for Listed { name, .. } in &manifest.files {
                match change(|| fs::remove_file(folder.path().join(name))) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed(format!("remove {name}"))(error));
                    }
                    _ => {}
                }
            }
            folder.sync()?;
        }
        warn!("undid an export that was interrupted");
    } else if !v7_numbers(&exporting).map_err(failed(format!("list {EXPORTING}")))?.is_empty() {
        return Err(V7Error::Lost(EXPORTING));
    }
    remove(&exporting)
}
