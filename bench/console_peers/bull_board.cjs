// bull-board as its own documentation sets it up, over BullMQ jobs in the states and numbers of the bench's workload.
const { createBullBoard } = require("@bull-board/api");
const { BullMQAdapter } = require("@bull-board/api/bullMQAdapter");
const { ExpressAdapter } = require("@bull-board/express");
const { Queue, Worker } = require("bullmq");
const express = require("express");

const [broker, names, counts, port] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(broker), maxRetriesPerRequest: null };
const { completed, failed, delayed, waiting } = JSON.parse(counts);
const made = (count, opts = {}) =>
  Array.from({ length: count }, (_, number) => ({ name: "send-email", data: { to: "ana@example.com", number }, opts }));

async function fill(name) {
  const queue = new Queue(name, { connection });
  await queue.addBulk([...made(completed), ...made(failed, { attempts: 1 }).map((job) => ({ ...job, name: "refused" }))]);
  await new Promise((resolve) => {
    let left = completed + failed;
    const worker = new Worker(name, async (job) => {
      if (job.name === "refused") throw new Error("the provider refused the message");
      return { message_id: "m-1" };
    }, { connection, concurrency: 20 });
    const one = () => --left === 0 && worker.close().then(resolve);
    worker.on("completed", one).on("failed", one);
  });
  await queue.addBulk([...made(delayed, { delay: 86_400_000 }), ...made(waiting)]);
  return queue;
}

(async () => {
  const queues = [];
  for (const name of names.split(",")) queues.push(await fill(name));
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath("/");
  createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue)), serverAdapter });
  const app = express();
  app.use("/", serverAdapter.getRouter());
  app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
})();
