//! A directed graph of numbered nodes, and its cycles: linear in nodes and edges.

/// A graph, as rows of a compressed matrix.
pub struct Graph {
    /// Where each node's edges begin; one more than there are nodes.
    rows: Vec<u32>,
    targets: Vec<u32>,
}

const UNSEEN: u32 = u32::MAX;

impl Graph {
    pub fn new(nodes: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Graph {
        let mut rows = vec![0; nodes + 1];
        for (from, _) in edges.clone() {
            rows[from as usize + 1] += 1;
        }
        for node in 0..nodes {
            rows[node + 1] += rows[node];
        }
        let mut next = rows.clone();
        let mut targets = vec![0; rows[nodes] as usize];
        for (from, to) in edges {
            targets[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        }
        Graph { rows, targets }
    }

    fn next(&self, node: u32) -> &[u32] {
        &self.targets[self.rows[node as usize] as usize..self.rows[node as usize + 1] as usize]
    }

    /// A short cycle of each strongly connected component that has any.
    pub fn cycles(&self) -> Vec<Vec<u32>> {
        let components = self.components();
        let mut members: Vec<Vec<u32>> = Vec::new();
        let mut sizes = vec![0u32; components.len()];
        for component in &components {
            sizes[*component as usize] += 1;
        }
        let mut place = vec![UNSEEN; components.len()];
        for (node, component) in (0..).zip(&components) {
            if sizes[*component as usize] > 1 {
                let place = &mut place[*component as usize];
                if *place == UNSEEN {
                    *place = members.len() as u32;
                    members.push(vec![]);
                }
                members[*place as usize].push(node);
            }
        }
        members.iter().map(|nodes| self.short_cycle(nodes[0], &components)).collect()
    }

    /// The shortest cycle through a node, within its component.
    fn short_cycle(&self, start: u32, components: &[u32]) -> Vec<u32> {
        let mut came_from = std::collections::HashMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.next(node).iter().copied() {
                if next == start {
                    let mut cycle = vec![node];
                    while let Some(before) = came_from.get(&cycle[cycle.len() - 1]) {
                        cycle.push(*before);
                    }
                    cycle.reverse();
                    return cycle;
                }
                let inside = components[next as usize] == components[start as usize];
                if inside && !came_from.contains_key(&next) {
                    came_from.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        unreachable!("a node of a component with several nodes lies on a cycle")
    }

    /// The strongly connected component of each node, after Tarjan, without recursion.
    fn components(&self) -> Vec<u32> {
        let nodes = self.rows.len() - 1;
        let mut walk = Walk {
            order: vec![UNSEEN; nodes],
            low: vec![0; nodes],
            component: vec![UNSEEN; nodes],
            stack: vec![],
            seen: 0,
            found: 0,
        };
        let mut path: Vec<(u32, usize)> = Vec::new();
        for root in 0..nodes as u32 {
            if walk.order[root as usize] != UNSEEN {
                continue;
            }
            walk.enter(root);
            path.push((root, 0));
            while let Some((node, at)) = path.pop() {
                let Some(next) = self.next(node).get(at).copied() else {
                    walk.leave(node);
                    if let Some((parent, _)) = path.last() {
                        walk.low[*parent as usize] = walk.low[*parent as usize].min(walk.low[node as usize]);
                    }
                    continue;
                };
                path.push((node, at + 1));
                if walk.order[next as usize] == UNSEEN {
                    walk.enter(next);
                    path.push((next, 0));
                } else if walk.component[next as usize] == UNSEEN {
                    walk.low[node as usize] = walk.low[node as usize].min(walk.order[next as usize]);
                }
            }
        }
        walk.component
    }
}

struct Walk {
    order: Vec<u32>,
    low: Vec<u32>,
    component: Vec<u32>,
    stack: Vec<u32>,
    seen: u32,
    found: u32,
}

impl Walk {
    fn enter(&mut self, node: u32) {
        self.order[node as usize] = self.seen;
        self.low[node as usize] = self.seen;
        self.seen += 1;
        self.stack.push(node);
    }

    fn leave(&mut self, node: u32) {
        if self.low[node as usize] != self.order[node as usize] {
            return;
        }
        while let Some(member) = self.stack.pop() {
            self.component[member as usize] = self.found;
            if member == node {
                break;
            }
        }
        self.found += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cycles(nodes: usize, edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
        Graph::new(nodes, edges.iter().copied()).cycles()
    }

    #[test]
    fn a_cycle_is_found_and_a_line_is_none() {
        assert_eq!(cycles(4, &[(0, 1), (1, 2), (2, 3)]), Vec::<Vec<u32>>::new());
        assert_eq!(cycles(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]), vec![vec![0, 1, 2]]);
    }

    proptest! {
        /// Against reachability by brute force.
        #[test]
        fn a_cycle_is_there_if_a_node_reaches_itself(edges in prop::collection::vec((0u32..8, 0u32..8), 0..20)) {
            let edges: Vec<(u32, u32)> = edges.into_iter().filter(|(from, to)| from != to).collect();
            let mut reach = [[false; 8]; 8];
            for (from, to) in &edges {
                reach[*from as usize][*to as usize] = true;
            }
            for mid in 0..8 {
                for from in 0..8 {
                    for to in 0..8 {
                        reach[from][to] |= reach[from][mid] && reach[mid][to];
                    }
                }
            }
            let expected = (0..8).any(|node| reach[node][node]);
            let found = cycles(8, &edges);
            prop_assert_eq!(!found.is_empty(), expected);
            for cycle in found {
                for at in 0..cycle.len() {
                    prop_assert!(edges.contains(&(cycle[at], cycle[(at + 1) % cycle.len()])));
                }
            }
        }
    }
}
