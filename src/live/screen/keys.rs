//! The keys' state machine, without a terminal. A selection is remembered by name, so that it stays where it is while
//! the lists change.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::live::state::{ListenerState, WatchState, WatchedIncident};

/// A key that has a meaning on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScreenKey {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    /// Ctrl-U: empties a line.
    Clear,
    /// Ctrl-C.
    Interrupt,
    Character(char),
}

/// The three parts that can be chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Listeners,
    Incidents,
    Detail,
}

impl Pane {
    fn next(self) -> Pane {
        match self {
            Pane::Listeners => Pane::Incidents,
            Pane::Incidents => Pane::Detail,
            Pane::Detail => Pane::Listeners,
        }
    }
}

/// What lies over everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    None,
    Help,
    Warnings,
}

/// How many rows of each part fitted when it was drawn last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PaneHeights {
    pub listeners: usize,
    pub incidents: usize,
    pub detail: usize,
    /// Lines that the detail has.
    pub detail_lines: usize,
    /// Lines of the overlay that do not fit.
    pub overlay_hidden: usize,
}

/// The effect of a key on the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyEffect {
    /// Nothing: the key has no meaning here.
    None,
    /// Draw again.
    Draw,
    /// Draw every cell again: something else has written on the terminal.
    Repaint,
    /// End the watch.
    Quit,
}

/// The selections, the filter and the state that the screen shows.
#[derive(Clone, Debug)]
pub(super) struct ScreenView {
    pub focus: Pane,
    /// The chosen listener; `None` is the first one.
    pub listener: Option<SocketAddr>,
    /// The id of the chosen incident; `None` is the first one.
    pub incident: Option<String>,
    /// Which example of the incident, from 0.
    pub example: usize,
    /// Lines of the detail that lie above its window.
    pub scroll: usize,
    /// Whether the detail has the whole screen.
    pub zoomed: bool,
    pub overlay: Overlay,
    /// Lines of the overlay that lie above its window.
    pub overlay_scroll: usize,
    /// Only rows that contain this are listed; empty for all.
    pub filter: String,
    /// The earlier filter, while a new one is being typed.
    pub typing: Option<String>,
    /// The state that is shown while the screen is frozen.
    pub frozen: Option<Arc<WatchState>>,
    pub room: PaneHeights,
}

impl Default for ScreenView {
    fn default() -> ScreenView {
        ScreenView {
            focus: Pane::Incidents,
            listener: None,
            incident: None,
            example: 0,
            scroll: 0,
            zoomed: false,
            overlay: Overlay::None,
            overlay_scroll: 0,
            filter: String::new(),
            typing: None,
            frozen: None,
            room: PaneHeights::default(),
        }
    }
}

impl ScreenView {
    /// The listeners that are listed: first those with open incidents, and those whose queue has ever been full.
    pub fn listeners<'s>(&self, state: &'s WatchState) -> Vec<&'s ListenerState> {
        let mut listed: Vec<&ListenerState> =
            state.listeners.iter().filter(|listener| self.admits(&[&listener.address.to_string()])).collect();
        // If nothing matches the filter, it is about incidents only, and all listeners are listed.
        if listed.is_empty() {
            listed = state.listeners.iter().collect();
        }
        let overflown =
            |l: &ListenerState| l.longest.zip(l.limit).is_some_and(|(longest, limit)| longest > limit);
        listed.sort_by_key(|listener| (listener.open == 0, !overflown(listener)));
        listed
    }

    /// The incidents that are listed.
    pub fn incidents<'s>(&self, state: &'s WatchState) -> Vec<&'s WatchedIncident> {
        let admitted = |watched: &&WatchedIncident| {
            let incident = &watched.incident;
            let ends = watched.examples.iter().flat_map(|finding| [finding.client, finding.server]);
            let mut texts: Vec<String> = vec![
                incident.kind.to_string(),
                incident.severity.to_string(),
                incident.certainty.to_string(),
                incident.listener.map(|listener| listener.to_string()).unwrap_or_default(),
                incident.cause.clone(),
                if watched.open { "open" } else { "closed" }.to_owned(),
            ];
            texts.extend(ends.flatten().map(|end| end.to_string()));
            self.admits(&texts.iter().map(String::as_str).collect::<Vec<_>>())
        };
        state.incidents.iter().filter(admitted).collect()
    }

    /// Whether every word of the filter is in one of `texts`, capital or small.
    fn admits(&self, texts: &[&str]) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        let filter = self.filter.to_lowercase();
        filter.split_whitespace().all(|word| texts.iter().any(|text| text.contains(word)))
    }

    /// The incident whose detail is shown.
    pub fn chosen<'s>(&self, state: &'s WatchState) -> Option<&'s WatchedIncident> {
        let listed = self.incidents(state);
        let place = self.incident_place(&listed)?;
        listed.get(place).copied()
    }

    /// Where the chosen incident stands among `listed`.
    pub fn incident_place(&self, listed: &[&WatchedIncident]) -> Option<usize> {
        let chosen = self.incident.as_ref();
        let place = listed.iter().position(|watched| Some(&watched.incident.id) == chosen);
        place.or((!listed.is_empty()).then_some(0))
    }

    /// Where the chosen listener stands among `listed`.
    pub fn listener_place(&self, listed: &[&ListenerState]) -> Option<usize> {
        let place = listed.iter().position(|listener| Some(listener.address) == self.listener);
        place.or((!listed.is_empty()).then_some(0))
    }

    /// What a key does while `state` is the latest that is known.
    pub fn press(&mut self, key: ScreenKey, state: &Arc<WatchState>) -> KeyEffect {
        if key == ScreenKey::Interrupt {
            return KeyEffect::Quit;
        }
        let shown = self.frozen.clone().unwrap_or_else(|| Arc::clone(state));
        if self.typing.is_some() {
            return self.type_filter(key);
        }
        if self.overlay != Overlay::None {
            return self.in_overlay(key);
        }
        match key {
            ScreenKey::Character('q') => return KeyEffect::Quit,
            ScreenKey::Character('?' | 'h') => self.lay(Overlay::Help),
            ScreenKey::Character('w') => self.lay(Overlay::Warnings),
            ScreenKey::Character('/') => {
                self.typing = Some(self.filter.clone());
                self.zoomed = false;
            }
            ScreenKey::Character(' ') => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some(Arc::clone(state)),
                };
            }
            ScreenKey::Clear => return KeyEffect::Repaint,
            ScreenKey::Tab if !self.zoomed => self.focus = self.focus.next(),
            ScreenKey::BackTab if !self.zoomed => self.focus = self.focus.next().next(),
            ScreenKey::Enter => return self.enter(&shown),
            ScreenKey::Escape => return self.escape(),
            ScreenKey::Left | ScreenKey::Character('p') => return self.next_example(&shown, -1),
            ScreenKey::Right | ScreenKey::Character('n') => return self.next_example(&shown, 1),
            ScreenKey::Up | ScreenKey::Character('k') => self.go(&shown, ListStep::By(-1)),
            ScreenKey::Down | ScreenKey::Character('j') => self.go(&shown, ListStep::By(1)),
            ScreenKey::PageUp => self.go(&shown, ListStep::Pages(-1)),
            ScreenKey::PageDown => self.go(&shown, ListStep::Pages(1)),
            ScreenKey::Home | ScreenKey::Character('g') => self.go(&shown, ListStep::First),
            ScreenKey::End | ScreenKey::Character('G') => self.go(&shown, ListStep::Last),
            _ => return KeyEffect::None,
        }
        KeyEffect::Draw
    }

    fn lay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
        self.overlay_scroll = 0;
    }

    fn in_overlay(&mut self, key: ScreenKey) -> KeyEffect {
        let page = 10;
        let hidden = self.room.overlay_hidden;
        match key {
            ScreenKey::Down | ScreenKey::Character('j') => {
                self.overlay_scroll = (self.overlay_scroll + 1).min(hidden)
            }
            ScreenKey::Up | ScreenKey::Character('k') => {
                self.overlay_scroll = self.overlay_scroll.saturating_sub(1)
            }
            ScreenKey::PageDown => self.overlay_scroll = (self.overlay_scroll + page).min(hidden),
            ScreenKey::PageUp => self.overlay_scroll = self.overlay_scroll.saturating_sub(page),
            // Any other key closes it: nobody has to search for the way out.
            _ => self.overlay = Overlay::None,
        }
        KeyEffect::Draw
    }

    fn type_filter(&mut self, key: ScreenKey) -> KeyEffect {
        match key {
            ScreenKey::Character(c) => self.filter.push(c),
            ScreenKey::Backspace => {
                // As in `less`: deleting the first character closes the filter.
                if self.filter.pop().is_none() {
                    self.typing = None;
                }
            }
            ScreenKey::Clear => self.filter.clear(),
            ScreenKey::Enter | ScreenKey::Tab | ScreenKey::Down => self.typing = None,
            ScreenKey::Escape => self.filter = self.typing.take().unwrap_or_default(),
            _ => return KeyEffect::None,
        }
        self.scroll = 0;
        self.example = 0;
        KeyEffect::Draw
    }

    fn enter(&mut self, state: &WatchState) -> KeyEffect {
        match self.focus {
            Pane::Listeners => {
                let listed = self.listeners(state);
                let Some(place) = self.listener_place(&listed) else { return KeyEffect::None };
                let address = listed[place].address;
                // A listener at all addresses has clients at each of them: only the port is the same.
                self.filter = match address.ip().is_unspecified() {
                    true => format!(":{}", address.port()),
                    false => address.to_string(),
                };
                self.focus = Pane::Incidents;
                self.scroll = 0;
                self.example = 0;
            }
            Pane::Incidents | Pane::Detail if self.chosen(state).is_some() => {
                self.zoomed = !self.zoomed;
                self.focus = if self.zoomed { Pane::Detail } else { Pane::Incidents };
                self.scroll = 0;
            }
            Pane::Incidents | Pane::Detail => return KeyEffect::None,
        }
        KeyEffect::Draw
    }

    /// One step back: out of the detail, then out of the filter, then out of the freeze.
    fn escape(&mut self) -> KeyEffect {
        if self.zoomed {
            self.zoomed = false;
            self.focus = Pane::Incidents;
            self.scroll = 0;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else if self.frozen.is_some() {
            self.frozen = None;
        } else {
            return KeyEffect::None;
        }
        KeyEffect::Draw
    }

    /// Another example of the chosen incident.
    fn next_example(&mut self, state: &WatchState, by: isize) -> KeyEffect {
        let Some(watched) = self.chosen(state) else { return KeyEffect::None };
        let last = watched.examples.len().saturating_sub(1);
        let example = self.example.min(last).saturating_add_signed(by).min(last);
        if example == self.example {
            return KeyEffect::None;
        }
        self.example = example;
        self.scroll = 0;
        KeyEffect::Draw
    }

    fn go(&mut self, state: &WatchState, step: ListStep) {
        match self.focus {
            Pane::Listeners => {
                let listed = self.listeners(state);
                let place = self.listener_place(&listed).unwrap_or(0);
                let place = step.from(place, listed.len().saturating_sub(1), self.room.listeners);
                self.listener = listed.get(place).map(|listener| listener.address);
            }
            Pane::Incidents => {
                let listed = self.incidents(state);
                let place = self.incident_place(&listed).unwrap_or(0);
                let place = step.from(place, listed.len().saturating_sub(1), self.room.incidents);
                let chosen = listed.get(place).map(|watched| watched.incident.id.clone());
                if chosen != self.incident {
                    self.incident = chosen;
                    self.example = 0;
                    self.scroll = 0;
                }
            }
            Pane::Detail => {
                let last = self.room.detail_lines.saturating_sub(self.room.detail);
                self.scroll = step.from(self.scroll.min(last), last, self.room.detail);
            }
        }
    }
}

/// How far to go in a list.
#[derive(Clone, Copy)]
enum ListStep {
    By(isize),
    Pages(isize),
    First,
    Last,
}

impl ListStep {
    /// The new place, from `place` in a list that ends at `last`, with `page` rows visible.
    fn from(self, place: usize, last: usize, page: usize) -> usize {
        match self {
            ListStep::By(n) => place.saturating_add_signed(n).min(last),
            ListStep::Pages(n) => place.saturating_add_signed(n * page.max(2) as isize - n).min(last),
            ListStep::First => 0,
            ListStep::Last => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::samples;
    use proptest::prelude::*;

    fn pressed(view: &mut ScreenView, state: &Arc<WatchState>, keys: &str) -> KeyEffect {
        keys.chars().map(|c| view.press(key(c), state)).last().expect("at least one key")
    }

    /// `v` and `^` for the arrows, `!` for enter, `.` for escape, `>` for tab.
    fn key(c: char) -> ScreenKey {
        match c {
            'v' => ScreenKey::Down,
            '^' => ScreenKey::Up,
            '!' => ScreenKey::Enter,
            '.' => ScreenKey::Escape,
            '>' => ScreenKey::Tab,
            c => ScreenKey::Character(c),
        }
    }

    fn mixture() -> Arc<WatchState> {
        Arc::new(samples::mixture())
    }

    #[test]
    fn arrows_choose_an_incident_and_stop_at_the_ends() {
        let (mut view, state) = (ScreenView::default(), mixture());
        let ids: Vec<_> = state.incidents.iter().map(|watched| watched.incident.id.clone()).collect();
        pressed(&mut view, &state, "vj");
        assert_eq!(view.incident.as_ref(), Some(&ids[2]));
        pressed(&mut view, &state, "^k^");
        assert_eq!(view.incident.as_ref(), Some(&ids[0]));
        pressed(&mut view, &state, "Gv");
        assert_eq!(view.incident.as_ref(), ids.last());
    }

    #[test]
    fn the_choice_follows_its_incident_when_the_list_changes() {
        let (mut view, state) = (ScreenView::default(), mixture());
        pressed(&mut view, &state, "vv");
        let chosen = view.chosen(&state).unwrap().incident.id.clone();
        let mut later = (*state).clone();
        later.incidents.rotate_right(3);
        assert_eq!(view.chosen(&later).unwrap().incident.id, chosen);
        later.incidents.retain(|watched| watched.incident.id != chosen);
        assert_eq!(view.chosen(&later).unwrap().incident.id, later.incidents[0].incident.id);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let (mut view, state) = (ScreenView::default(), mixture());
        let all = view.incidents(&state).len();
        pressed(&mut view, &state, "/FLOOD open!");
        assert_eq!(view.typing, None);
        let kinds: Vec<_> = view.incidents(&state).iter().map(|w| w.incident.kind.name()).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == "syn-flood"), "{kinds:?}");
        pressed(&mut view, &state, ".");
        assert_eq!(view.incidents(&state).len(), all);
        pressed(&mut view, &state, "/nothing of the kind");
        assert!(view.incidents(&state).is_empty() && view.chosen(&state).is_none());
        assert_eq!(pressed(&mut view, &state, "."), KeyEffect::Draw);
        assert_eq!(view.filter, "");
    }

    #[test]
    fn q_in_a_filter_is_a_letter() {
        let (mut view, state) = (ScreenView::default(), mixture());
        assert_eq!(pressed(&mut view, &state, "/q"), KeyEffect::Draw);
        assert_eq!(view.filter, "q");
        assert_eq!(view.press(ScreenKey::Interrupt, &state), KeyEffect::Quit);
    }

    #[test]
    fn enter_opens_the_detail_and_escape_leaves_it() {
        let (mut view, state) = (ScreenView::default(), mixture());
        pressed(&mut view, &state, "!");
        assert!(view.zoomed && view.focus == Pane::Detail);
        view.room = PaneHeights { detail: 10, detail_lines: 14, ..PaneHeights::default() };
        pressed(&mut view, &state, "vvvvvv");
        assert_eq!(view.scroll, 4);
        pressed(&mut view, &state, ".");
        assert!(!view.zoomed && view.focus == Pane::Incidents && view.scroll == 0);
        assert_eq!(pressed(&mut view, &state, "."), KeyEffect::None);
    }

    #[test]
    fn enter_at_a_listener_shows_its_incidents() {
        let (mut view, state) = (ScreenView::default(), mixture());
        pressed(&mut view, &state, ">>");
        assert_eq!(view.focus, Pane::Listeners);
        pressed(&mut view, &state, "!");
        assert_eq!((view.filter.as_str(), view.focus), ("10.0.0.5:8080", Pane::Incidents));
        assert!(
            view.incidents(&state)
                .iter()
                .all(|w| w.incident.listener == Some("10.0.0.5:8080".parse().unwrap()))
        );
    }

    #[test]
    fn a_frozen_screen_stays_and_thaws() {
        let (mut view, state) = (ScreenView::default(), mixture());
        pressed(&mut view, &state, " ");
        assert_eq!(view.frozen.as_deref(), Some(&*state));
        let later = Arc::new(samples::quiet());
        pressed(&mut view, &later, "vv!");
        assert!(view.zoomed, "keys still move through a frozen screen");
        pressed(&mut view, &later, " ");
        assert_eq!(view.frozen, None);
    }

    #[test]
    fn help_goes_away_with_any_key_that_does_not_scroll() {
        let (mut view, state) = (ScreenView::default(), mixture());
        for leave in ["?", "q", "."] {
            pressed(&mut view, &state, "?v");
            assert_eq!(view.overlay, Overlay::Help);
            assert_eq!(pressed(&mut view, &state, leave), KeyEffect::Draw);
            assert_eq!(view.overlay, Overlay::None);
        }
    }

    #[test]
    fn examples_are_turned_over() {
        let (mut view, state) = (ScreenView::default(), Arc::new(samples::overflow()));
        assert_eq!(view.press(ScreenKey::Left, &state), KeyEffect::None);
        view.press(ScreenKey::Right, &state);
        view.press(ScreenKey::Right, &state);
        assert_eq!(view.example, 2);
        assert_eq!(view.press(ScreenKey::Right, &state), KeyEffect::None);
    }

    proptest! {
        #[test]
        fn any_keys_are_taken(keys in "[ -~]{0,60}", quiet in any::<bool>()) {
            let mut view = ScreenView::default();
            let state = Arc::new(if quiet { samples::quiet() } else { samples::mixture() });
            for c in keys.chars() {
                view.press(key(c), &state);
                prop_assert!(view.incidents(&state).len() <= state.incidents.len());
            }
        }
    }
}
