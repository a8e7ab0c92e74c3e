//! Which grid of rows and columns a value belongs to, and when two values can share a kernel.
//!
//! A softmax over `[batch, heads, seq, seq]` works on `batch * heads * seq` rows of `seq` columns; its
//! maxima and sums are one number a row; a bias gradient is one number a column, summed over all
//! rows. Every fusible node gets such a grid and a role in it.

use crate::access::Access;
use crate::ir::{Ir, Kind, NodeId};
use crate::program::TileAccess;

/// A grid of rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

/// What a value is on its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One number a row and column.
    Full,
    /// One number a row.
    Row,
    /// Reduced over all rows: known only when the kernel has ended.
    Accumulate,
}

/// A fusible node's grid and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The grid.
    pub domain: Domain,
    /// The role.
    pub role: Role,
}

/// Grid and role of every fusible node.
pub fn members(ir: &Ir) -> Vec<Option<Member>> {
    let mut members: Vec<Option<Member>> = Vec::with_capacity(ir.nodes.len());
    for node in &ir.nodes {
        let member = match node.kind {
            _ if node.is_elementwise() => {
                // One number a row if it continues such a value.
                let row = node
                    .inputs
                    .iter()
                    .rev()
                    .find_map(|(id, access)| match members[*id] {
                        Some(Member {
                            domain,
                            role: Role::Row,
                        }) if access.is_dense() && access.len() == ir.nodes[*id].len() => {
                            Some(Member {
                                domain,
                                role: Role::Row,
                            })
                        }
                        _ => None,
                    });
                Some(row.unwrap_or_else(|| {
                    let cols = node
                        .shape
                        .iter()
                        .rev()
                        .find(|n| **n != 1)
                        .copied()
                        .unwrap_or(1);
                    let rows = node.len() / cols;
                    Member {
                        domain: Domain { rows, cols },
                        role: Role::Full,
                    }
                }))
            }
            Kind::Reduce { reduced, .. } => {
                let (input, access) = &node.inputs[0];
                let kept = access.axes.len() - reduced;
                let rows = node.len();
                let cols = access.len() / rows;
                let of_row = matches!(
                    members[*input],
                    Some(Member {
                        role: Role::Row,
                        ..
                    })
                );
                let whole = access.is_dense() && access.len() == ir.nodes[*input].len();
                Some(match members[*input] {
                    Some(Member { domain, .. }) if of_row && rows == 1 && whole => Member {
                        domain,
                        role: Role::Accumulate,
                    },
                    _ if !access.is_dense() && reduced_first(access, kept).is_dense() => Member {
                        domain: Domain {
                            rows: cols,
                            cols: rows,
                        },
                        role: Role::Accumulate,
                    },
                    _ => Member {
                        domain: Domain { rows, cols },
                        role: Role::Row,
                    },
                })
            }
            _ => None,
        };
        members.push(member);
    }
    members
}

/// The access of a reduction with its reduced axes in front.
pub fn reduced_first(access: &Access, kept: usize) -> Access {
    let order: Vec<usize> = (kept..access.axes.len()).chain(0..kept).collect();
    access.permuted(&order)
}

/// The access split into row and column axes of the grid, if an axis boundary lies there.
pub fn split(access: &Access, domain: Domain) -> Option<TileAccess> {
    let (mut at, mut cols) = (access.axes.len(), 1);
    while cols < domain.cols {
        at = at.checked_sub(1)?;
        cols *= access.axes[at].size;
    }
    let rows: usize = access.axes[..at].iter().map(|a| a.size).product();
    if cols != domain.cols || rows != domain.rows {
        return None;
    }
    let merge = |axes: &[crate::access::Axis]| {
        Access {
            axes: axes.to_vec(),
            offset: 0,
        }
        .merged()
        .axes
    };
    Some(TileAccess {
        rows: merge(&access.axes[..at]),
        cols: merge(&access.axes[at..]),
        offset: access.offset,
    })
}

/// The access of a value that is one number a row.
pub fn rows_only(access: &Access) -> TileAccess {
    TileAccess {
        rows: access.merged().axes,
        cols: vec![],
        offset: access.offset,
    }
}

/// True when `user` can take the value of `input`, read through `access`, from a register of the
/// same kernel.
pub fn joins(
    ir: &Ir,
    members: &[Option<Member>],
    input: NodeId,
    access: &Access,
    user: NodeId,
) -> bool {
    let (Some(p), Some(c)) = (members[input], members[user]) else {
        return false;
    };
    if p.domain != c.domain {
        return false;
    }
    let whole = access.is_dense() && access.len() == ir.nodes[input].len();
    let reduce = match ir.nodes[user].kind {
        Kind::Reduce { reduced, .. } => Some(reduced),
        _ => None,
    };
    match (p.role, c.role, reduce) {
        (Role::Accumulate, _, _) => false,
        (Role::Full, Role::Full, None) => whole,
        (Role::Row, Role::Row, None) => whole,
        (Role::Row, Role::Full, None) => match split(access, c.domain) {
            Some(tile) => {
                let rows = Access {
                    axes: tile.rows,
                    offset: tile.offset,
                };
                rows.is_dense()
                    && tile.cols.iter().all(|a| a.stride == 0 && !a.is_guarded())
                    && ir.nodes[input].len() == c.domain.rows
            }
            None => false,
        },
        (Role::Full, Role::Row, Some(_)) => whole,
        (Role::Full, Role::Accumulate, Some(reduced)) => {
            let kept = access.axes.len() - reduced;
            reduced_first(access, kept).is_dense() && access.len() == ir.nodes[input].len()
        }
        (Role::Row, Role::Accumulate, Some(_)) => whole,
        _ => false,
    }
}
