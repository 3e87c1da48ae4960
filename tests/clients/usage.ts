// What a program does with the generated client. The test appends a check for every GET.
import * as api from './generated';
import { createClient } from './generated/client';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

const [url, token] = process.argv.slice(2) as [string, string];
const client = createClient({ baseUrl: url, auth: token });

async function main(): Promise<void> {
  const before = await api.getMode({ client, throwOnError: true });
  const mode: api.ProcessingMode = before.data.mode;
  const { data, error } = await api.setMode({ client, body: { mode: 'sync_direct', reason: 'a test' } });
  const after: api.ProcessingMode | undefined = data?.mode;
  const refused = await api.setMode({ client, body: { mode: 'sync_direct', reason: '' } });
  const field: string | undefined = refused.error?.errors?.[0]?.field;
  // @ts-expect-error there is no such mode
  const typo: api.SetMode = { mode: 'off', reason: 'a test' };
  const bots = await api.listAdbots({ client, query: { status: 'READY', limit: 10 }, throwOnError: true });
  const items: Array<api.AdbotView> = bots.data.items;
  console.log(JSON.stringify({ mode, after, error: error ?? null, field, typo: typo.reason, bots: items.length }));
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
