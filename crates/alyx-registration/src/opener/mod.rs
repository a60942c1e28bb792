//! The opener: opens a file as data only if it lies where data may lie.
//!
//! What is registered is published: anyone who may write into a session folder could show the size and MD5 of any file
//! on this computer with a link to it. So every path below a data root goes through [`DataFolders`]: a link is resolved
//! once, the result must lie in one of the folders, and exactly that file is opened.

pub(crate) mod beneath;
pub(crate) mod data_folders;
pub(crate) mod file_handle;
pub(crate) mod private_paths;
pub(crate) mod real_path;
pub(crate) mod refusal;

#[cfg(doc)]
use data_folders::DataFolders;
