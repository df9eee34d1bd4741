// Addresses and the pages they lead to. Each page is a file of its own, fetched when it is first opened.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { NotFound } from "./shell/not-found";
import { Root } from "./shell/root";
import { ErrorNote } from "./ui/feedback";

const root = createRootRoute({ component: Root, notFoundComponent: NotFound });

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;
const given = <K extends string>(search: Record<string, unknown>, ...names: K[]): { [N in K]?: string } =>
  Object.fromEntries(names.flatMap((name) => (text(search[name]) ? [[name, text(search[name])]] : []))) as {
    [N in K]?: string;
  };

const oneOf = <T extends string>(value: unknown, known: readonly T[]): { tab?: T } =>
  known.includes(value as T) ? { tab: value as T } : {};

// Tabs stand in the address; what is not one of them is left out.
const TABS = ["browse", "search", "terms", "add", "access", "about"] as const;
const DATANETS_TABS = ["all", "mine"] as const;
const AUDIT_TABS = ["proof", "record", "uses", "log"] as const;
const ADMIN_TABS = ["models", "keys", "roles", "limits", "usage", "health"] as const;
export type Tab = (typeof TABS)[number];
export type DatanetsTab = (typeof DATANETS_TABS)[number];
export type AuditTab = (typeof AUDIT_TABS)[number];
export type AdminTab = (typeof ADMIN_TABS)[number];

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/home/home"), "Home"),
});

export interface ChatSearch {
  thread?: string;
  ask?: string;
  datanet?: string;
  model?: string;
}

const chat = createRoute({
  getParentRoute: () => root,
  path: "/chat",
  validateSearch: (search): ChatSearch => given(search, "thread", "ask", "datanet", "model"),
  component: lazyRouteComponent(() => import("./pages/chat/chat"), "Chat"),
});

export interface DatanetsSearch {
  tab?: DatanetsTab;
  /** Opens the dialog that makes one. */
  create?: boolean;
}

const datanets = createRoute({
  getParentRoute: () => root,
  path: "/datanets",
  validateSearch: (search): DatanetsSearch => ({
    ...oneOf(search.tab, DATANETS_TABS),
    ...(search.create === true ? { create: true } : {}),
  }),
  component: lazyRouteComponent(() => import("./pages/datanets/list"), "Datanets"),
});

const datanet = createRoute({
  getParentRoute: () => root,
  path: "/datanets/$name",
  validateSearch: (search): { tab?: Tab } => oneOf(search.tab, TABS),
  component: lazyRouteComponent(() => import("./pages/datanets/detail"), "DatanetPage"),
});

const adapters = createRoute({
  getParentRoute: () => root,
  path: "/adapters",
  component: lazyRouteComponent(() => import("./pages/adapters/list"), "Adapters"),
});

const adapter = createRoute({
  getParentRoute: () => root,
  path: "/adapters/$base/$name",
  component: lazyRouteComponent(() => import("./pages/adapters/detail"), "AdapterPage"),
});

const train = createRoute({
  getParentRoute: () => root,
  path: "/train",
  component: lazyRouteComponent(() => import("./pages/train/list"), "Train"),
});

const newRun = createRoute({
  getParentRoute: () => root,
  path: "/train/new",
  component: lazyRouteComponent(() => import("./pages/train/new-run"), "NewRun"),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/train/compare",
  validateSearch: (search): { runs?: string } => given(search, "runs"),
  component: lazyRouteComponent(() => import("./pages/train/compare"), "Compare"),
});

const run = createRoute({
  getParentRoute: () => root,
  path: "/train/$id",
  component: lazyRouteComponent(() => import("./pages/train/run"), "RunPage"),
});

/** Which records: one by its id, or those that fit. */
export interface RecordSearch {
  id?: string;
  model?: string;
  adapter?: string;
  subject?: string;
  contributor?: string;
  datanet?: string;
  from?: string;
  to?: string;
}

const audit = createRoute({
  getParentRoute: () => root,
  path: "/audit",
  validateSearch: (search): { tab?: AuditTab } & RecordSearch => ({
    ...oneOf(search.tab, AUDIT_TABS),
    ...given(search, "id", "model", "adapter", "subject", "contributor", "datanet", "from", "to"),
  }),
  component: lazyRouteComponent(() => import("./pages/audit/audit"), "Audit"),
});

const admin = createRoute({
  getParentRoute: () => root,
  path: "/admin",
  validateSearch: (search): { tab?: AdminTab } => oneOf(search.tab, ADMIN_TABS),
  component: lazyRouteComponent(() => import("./pages/admin/admin"), "Admin"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    home,
    chat,
    datanets,
    datanet,
    train,
    newRun,
    compare,
    run,
    adapters,
    adapter,
    audit,
    admin,
  ]),
  basepath: "/studio",
  defaultPreload: "intent",
  defaultErrorComponent: ({ error }) => (
    <div className="page">
      <ErrorNote error={error} />
    </div>
  ),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
