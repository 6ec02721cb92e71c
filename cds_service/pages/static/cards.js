// How does a clinician see a card, accept a suggestion, or give a reason to decline?

import "./vendor/dompurify.js";
import { Marked } from "./vendor/marked.js";
import { el, shape } from "./dom.js";

const RANK = { critical: 0, warning: 1, info: 2 };
const WORDS = { critical: "Critical", warning: "Warning", info: "Information" };
const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (character) => ESCAPED[character]);
// HTML in a card is shown as the text it is; of a link or an image only the words are left.
const writer = new Marked({
  gfm: true,
  async: false,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ text }) => escaped(text),
    link({ tokens }) {
      return this.parser.parseInline(tokens);
    },
  },
});
// And what is written passes a sanitiser: paragraphs, lists, emphasis and tables, no attribute.
const SANITISER = {
  ALLOWED_TAGS: ["p", "ul", "ol", "li", "strong", "em", "code", "br", "hr", "blockquote", "del",
    "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: [],
  RETURN_DOM_FRAGMENT: true,
};

export const inOrder = (cards) =>
  [...cards].sort((a, b) => (RANK[a.indicator] ?? 2) - (RANK[b.indicator] ?? 2));

// `actions`: {accept(card, suggestion), override(card, reason, comment)}, both async → words.
export function cardNode(card, isFirst, actions) {
  const level = card.indicator in WORDS ? card.indicator : "info";
  const id = `card-${card.uuid ?? crypto.randomUUID()}`;
  const node = el("article", { class: `card ${level}`, "aria-labelledby": id },
    el("div", { class: "indicator" }, shape(level), el("span", {}, WORDS[level]),
      card.source?.topic?.code && el("span", { class: "source" }, card.source.topic.code)));
  const body = el("div", { class: "card-body" }, el("h3", { id }, card.summary ?? ""));
  const outcome = (words) => conclude(node, body, card, words);
  body.append(...parts(card, isFirst, actions, outcome));
  node.append(body);
  return node;
}

function parts(card, isFirst, actions, outcome) {
  return [
    suggestions(card, actions, outcome),
    detail(card, isFirst),
    override(card, actions, outcome),
    links(card),
  ].filter(Boolean);
}

function conclude(node, body, card, words) {
  node.classList.add("done");
  const heading = body.querySelector("h3");
  heading.tabIndex = -1;
  body.replaceChildren(heading, el("p", { class: "feedback", role: "status" }, words));
  heading.focus();
}

// --- suggestions --------------------------------------------------------------------------------

function suggestions(card, actions) {
  if (!card.suggestions?.length) return null;
  const boxes = card.suggestions.map((suggestion) => {
    const steps = (suggestion.actions ?? []).map((a) => el("li", {}, a.description ?? a.type));
    const label = el("div", {}, el("span", { class: "label" }, suggestion.label),
      suggestion.isRecommended && el("span", { class: "recommended" }, "Recommended"));
    const accept = el("button", {
      type: "button",
      class: suggestion.isRecommended ? "main" : null,
      "aria-label": `Accept: ${suggestion.label}`,
      on: { click: () => actions.accept(card, suggestion) },
    }, "Accept");
    return el("li", { class: "suggestion" }, label, accept, steps.length ? el("ul", {}, ...steps) : null);
  });
  const several = card.suggestions.length > 1 && card.selectionBehavior === "at-most-one";
  return el("div", {},
    several && el("p", { class: "hint" }, "Choose at most one."),
    el("ul", { class: "suggestions", "aria-label": "Suggestions" }, ...boxes));
}

// --- why, and where from ------------------------------------------------------------------------

function detail(card, isFirst) {
  if (!card.detail) return null;
  return el("details", { open: isFirst },
    el("summary", {}, "Why, and where this comes from"),
    el("div", { class: "detail" }, markdown(card.detail)));
}

export function markdown(text) {
  return globalThis.DOMPurify.sanitize(writer.parse(text), SANITISER);
}

function links(card) {
  const all = [...(card.links ?? [])];
  if (!all.length) return null;
  return el("ul", { class: "links", "aria-label": "Links" }, ...all.map((l) => el("li", {}, link(l))));
}

function link({ label, url, type }) {
  if (type === "smart") return `${label} (starts in an EHR only)`;
  if (!/^https?:\/\//i.test(url)) return label;
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label,
    el("span", { class: "visually-hidden" }, " (opens a new tab)"));
}

// --- declining ----------------------------------------------------------------------------------

function override(card, actions, outcome) {
  const reasons = card.overrideReasons ?? [];
  if (!reasons.length) return null;
  const key = card.uuid ?? crypto.randomUUID();
  const needed = card.indicator === "critical";
  const select = el("select", { id: `reason-${key}`, required: needed },
    el("option", { value: "" }, needed ? "Choose a reason" : "No reason given"),
    ...reasons.map((reason, n) => el("option", { value: n }, reason.display ?? reason.code)));
  const comment = el("input", { id: `comment-${key}`, type: "text", maxlength: 500, autocomplete: "off" });
  const form = el("form", {},
    el("div", { class: "field" }, el("label", { for: select.id }, needed ? "Reason (required)" : "Reason"), select),
    el("div", { class: "field" }, el("label", { for: comment.id }, "Comment (no patient details)"), comment),
    el("div", { class: "row" }, el("button", { type: "submit" }, "Override this card")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const reason = select.value === "" ? null : reasons[Number(select.value)];
    outcome(await actions.override(card, reason, comment.value.trim()));
  });
  return el("details", { class: "override" }, el("summary", {}, "Keep the order, give a reason"), form);
}
