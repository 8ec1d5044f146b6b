// Choosing a row of a table by keys: one row is chosen, and alone in the order of tabs.

/** Chooses the row nearest to number `at`; gives its number, or -1 in a table without rows. */
export function chooseRow(body, at, { focus = true } = {}) {
  const rows = [...body.querySelectorAll("tbody tr")];
  if (!rows.length) return -1;
  const chosen = Math.max(0, Math.min(rows.length - 1, at));
  rows.forEach((row, i) => {
    row.setAttribute("aria-selected", String(i === chosen));
    row.tabIndex = i === chosen ? 0 : -1;
  });
  if (focus) rows[chosen].focus();
  return chosen;
}
