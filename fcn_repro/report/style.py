"""How the report looks, in light and in dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f6f3; --card: #ffffff; --ink: #1c1f24; --soft: #626a76; --line: #e2dfd8; --faint: #efede8;
  --good: #0b6e4f; --good-page: #dff2e9; --bad: #a8261c; --bad-page: #fbe3df; --open-page: #eceae4;
  --bar: #3d6fb4; --mean: #c2410c; --hit: #0d8a6f; --miss: #d9541e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1c1f25; --ink: #e8e9ec; --soft: #9aa3b0; --line: #323741; --faint: #262a32;
    --good: #6fd6ac; --good-page: #173a2e; --bad: #ff9d90; --bad-page: #48201b; --open-page: #2b3038;
    --bar: #6c9be0; --mean: #fb923c; --hit: #35c6a4; --miss: #ff8a4f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 40px 20px 64px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; }
h1 { margin: 4px 0 8px; font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance; }
h2 { margin: 0 0 4px; font-size: 20px; line-height: 1.3; }
h3 { margin: 28px 0 8px; font-size: 13px; font-weight: 600; color: var(--soft); }
p { margin: 0 0 8px; max-width: 76ch; }
.venue, .soft, figcaption, .split { color: var(--soft); }
.venue { font-size: 14px; }
section {
  margin: 28px 0; padding: 24px;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.wide {  /* a shadow at the side where there is more to scroll to */
  overflow-x: auto; background:
    linear-gradient(to right, var(--card) 12px, transparent 40px) local,
    linear-gradient(to left, var(--card) 12px, transparent 40px) right / 40px local no-repeat,
    linear-gradient(to right, var(--line), transparent 14px),
    linear-gradient(to left, var(--line), transparent 14px);
}
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { padding: 8px 16px 8px 8px; text-align: left; vertical-align: bottom; font-weight: 600; font-size: 13px; }
thead > tr > * { border-bottom: 2px solid var(--line); }
thead th, td { text-align: right; }
.split { display: block; font-weight: 400; font-size: 12px; line-height: 1.35; }
tbody th { vertical-align: top; font-size: 15px; min-width: 110px; }
tbody tr + tr > * { border-top: 1px solid var(--faint); }
td { padding: 8px 16px 8px 8px; vertical-align: top; white-space: nowrap; }
.ours { font-size: 17px; font-weight: 600; }
.published { display: block; font-size: 13px; color: var(--soft); }
.none { color: var(--soft); font-size: 13px; line-height: 25px; }
.pill {
  margin-right: 7px; padding: 1px 7px; border-radius: 99px; font-size: 12px;
  background: var(--open-page);
}
.within .pill { background: var(--good-page); color: var(--good); }
.outside .pill { background: var(--bad-page); color: var(--bad); font-weight: 600; }
sup { font-size: 11px; line-height: 0; }
td sup { position: absolute; margin: 9px 0 0 2px; }
sup a { color: inherit; text-decoration: none; }
.mark { color: var(--mean); font-weight: 600; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 16px 0 0; font-size: 13px; color: var(--soft); }
.key .pill { margin: 0 4px 0 0; }
ol, dl { margin: 0; font-size: 14px; }
ol, ul { padding-left: 24px; }
ul { margin: 0; font-size: 14px; }
li { margin: 0 0 6px; }
li:target { background: var(--open-page); }
code {
  display: block; width: fit-content; margin: 4px 0 0; padding: 1px 6px;
  border-radius: 5px; background: var(--faint);
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }
dt { font-weight: 600; }
dd { margin: 0; }
.scores {
  display: grid; gap: 16px 24px; margin: 16px 0 12px;
  grid-template-columns: repeat(auto-fit, minmax(140px, 1fr));
}
.scores div { line-height: 1.25; }
.scores p { margin: 4px 0 0; font-size: 13px; line-height: 1.4; color: var(--soft); }
.scores b { display: block; font-size: 26px; font-weight: 600; font-variant-numeric: tabular-nums; }
.charts {
  display: grid; gap: 20px 32px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr));
}
figure { margin: 0; }
figcaption { font-size: 13px; margin-top: 6px; }
svg {
  display: block; width: 100%; height: auto;
  font: 12px system-ui, -apple-system, "Segoe UI", sans-serif;
}
svg text { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .axis, svg .absent { fill: var(--soft); }
.bars .grid { stroke: var(--line); }
.bars .bar { fill: var(--bar); }
.bars .mean { stroke: var(--mean); stroke-width: 1.5; stroke-dasharray: 4 3; }
.bars .curve { fill: none; stroke: var(--bar); stroke-width: 1.5; }
.bars .dot { fill: var(--bar); }
.swatch { stroke: var(--line); }
.confusion .frame { fill: none; stroke: var(--line); }
.confusion .hit { fill: var(--hit); }
.confusion .miss { fill: var(--miss); }
.panel, .columns { max-width: 960px; }
.panel { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; margin: 0 0 16px; }
.panel figcaption { grid-column: 1 / -1; margin: 0; }
.panel img { display: block; width: 100%; height: auto; border-radius: 6px; }
.columns { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; margin-bottom: 4px; }
.columns span { font-size: 13px; color: var(--soft); }
.growth { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 12px 8px; }
.growth img { display: block; width: 100%; height: auto; border-radius: 6px; }
.growth figcaption { margin: 2px 0 0; }
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 18px;
  padding: 0; margin: 8px 0 0; list-style: none; font-size: 13px;
}
.legend li { display: flex; align-items: center; gap: 6px; margin: 0; }
.legend svg { width: 14px; height: 14px; }
footer { margin-top: 32px; font-size: 13px; color: var(--soft); }
@media (max-width: 600px) {
  body { padding: 24px 12px 48px; }
  section { padding: 16px; margin: 20px 0; }
  h1 { font-size: 24px; }
  th, td { padding: 8px 10px 8px 2px; }
  tbody th { min-width: 80px; }
  .bars .axis { font-size: 15px; }
}
@media print { body { padding: 0; } section { break-inside: avoid; border: 0; padding: 12px 0; } }
"""
