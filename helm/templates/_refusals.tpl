{{/* What would not work, each with a sentence that says what to do. The schema has refused the rest. */}}

{{- define "lighterage.refuse" -}}
{{- $values := .Values -}}
{{- $config := $values.config -}}
{{- $messages := list -}}

{{- range $section, $where := dict "listen" "listenHost and service.port" "admin" "adminService.port" "data" "storage" "workers" "replicas" "tls" "tls.existingSecret" -}}
{{- if hasKey $config $section -}}
{{- $messages = append $messages (printf "config.%s is the chart's business: remove it, and see %s." $section $where) -}}
{{- end -}}
{{- end -}}

{{- if eq $values.storage.layout "bucket" -}}
{{- $messages = append $messages "storage.layout: bucket. This version keeps blobs on disks only: take `claims`, a claim for each replica, or `shared`, a claim that is ReadWriteMany." -}}
{{- end -}}
{{- if and (eq $values.storage.layout "shared") (ne $values.storage.accessMode "ReadWriteMany") -}}
{{- $messages = append $messages "storage.layout: shared. Pods on several nodes share the claim: set storage.accessMode to ReadWriteMany, on a storage class that has it." -}}
{{- end -}}
{{- if and (eq $values.storage.layout "claims") (eq $values.storage.accessMode "ReadWriteMany") -}}
{{- $messages = append $messages "storage.accessMode: ReadWriteMany. Claims that nobody shares need ReadWriteOnce; set storage.layout to shared if one claim is meant for all replicas." -}}
{{- end -}}
{{- if and $values.storage.existingClaim (eq $values.storage.layout "claims") (gt (int $values.replicas) 1) -}}
{{- $messages = append $messages "storage.existingClaim is one claim, and each of several replicas needs its own: leave it empty, or set storage.layout to shared." -}}
{{- end -}}
{{- if and $values.storage.existingClaim (eq $values.storage.layout "none") -}}
{{- $messages = append $messages "storage.existingClaim is not used with storage.layout: none. Set storage.layout to claims." -}}
{{- end -}}

{{- $several := or (gt (int $values.replicas) 1) $values.autoscaling.enabled (eq $values.storage.layout "shared") -}}
{{- if and $several (not (include "lighterage.usesRedis" .)) -}}
{{- $messages = append $messages "Several replicas, or one directory that pods share, need a Redis: SQLite works in one place only. Set config.manifests to {store: redis, redis: {url: …}}, or, for a trial, redis.bundled.enabled." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (ne $values.storage.layout "shared") -}}
{{- $messages = append $messages "autoscaling.enabled. A new replica with a claim of its own has nothing in it: set storage.layout to shared, or a fixed number of replicas." -}}
{{- end -}}

{{- $manifests := $config.manifests | default dict -}}
{{- $redis := $manifests.redis | default dict -}}
{{- if and $values.redis.bundled.enabled (or (hasKey $redis "url") (hasKey $redis "sentinels") $values.redis.urlKey) -}}
{{- $messages = append $messages "redis.bundled.enabled, and config.manifests.redis says where another Redis is: remove one of them." -}}
{{- end -}}
{{- if and $values.redis.bundled.enabled $values.redis.existingSecret -}}
{{- $messages = append $messages "redis.existingSecret: the Redis of redis.bundled has no password. Remove one of them." -}}
{{- end -}}
{{- if and $values.redis.urlKey (not $values.redis.existingSecret) -}}
{{- $messages = append $messages "redis.urlKey is a key of redis.existingSecret, which is empty: name the Secret." -}}
{{- end -}}
{{- if and $values.redis.existingSecret (not (or $values.redis.passwordKey $values.redis.sentinelPasswordKey $values.redis.urlKey)) -}}
{{- $messages = append $messages "redis.existingSecret: say what is in it, with redis.passwordKey, redis.sentinelPasswordKey or redis.urlKey." -}}
{{- end -}}
{{- if and (or (hasKey $redis "url") (hasKey $redis "sentinels")) (ne ($manifests.store | default "sqlite") "redis") -}}
{{- $messages = append $messages "config.manifests.redis says where Redis is, but config.manifests.store is sqlite: say store: redis." -}}
{{- end -}}
{{- if and (eq ($manifests.store | default "sqlite") "redis") (not (or (hasKey $redis "url") (hasKey $redis "sentinels") $values.redis.urlKey $values.redis.bundled.enabled)) -}}
{{- $messages = append $messages "config.manifests.store is redis, and nothing says where it is: set config.manifests.redis.url, or sentinels and service, or redis.urlKey." -}}
{{- end -}}
{{- if and $values.redis.clientCertificate (not $values.redis.tlsSecret) -}}
{{- $messages = append $messages "redis.clientCertificate needs redis.tlsSecret, the Secret that it is in." -}}
{{- end -}}
{{- if or (hasKey $redis "password") (hasKey $redis "sentinel_password") -}}
{{- $messages = append $messages "config.manifests.redis has a password: a ConfigMap is not for secrets. Put it into a Secret, and name that in redis.existingSecret." -}}
{{- end -}}
{{- range $url := ternary (list $redis.url) $redis.url (kindIs "string" $redis.url) | default list -}}
{{- if regexMatch "://[^/]*:[^/]*@" (toString $url) -}}
{{- $messages = append $messages "config.manifests.redis.url has a password in it: a ConfigMap is not for secrets. Put the URL into a Secret, and name it in redis.existingSecret and redis.urlKey." -}}
{{- end -}}
{{- end -}}

{{- $upstreams := $config.upstreams | default dict -}}
{{- $lent := keys $values.credentials -}}
{{- range $name, $upstream := $upstreams -}}
{{- with $upstream -}}
{{- range $place := prepend (.mirrors | default list) . -}}
{{- with $place.credentials -}}
{{- $lent = append $lent $name -}}
{{- if hasKey . "password" -}}
{{- $messages = append $messages (printf "config.upstreams.%s has a password: a ConfigMap is not for secrets. Put it into a Secret, and name that in credentials.%s.existingSecret." $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $login := $values.credentials -}}
{{- if not (or (hasKey $upstreams $name) (and (not $upstreams) (eq $name "docker.io"))) -}}
{{- if not $values.existingConfigMap -}}
{{- $messages = append $messages (printf "credentials.%s: config.upstreams has no %s. Add it with its url, or take its name as it stands there." $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $lent (not (dig "access" "allow_anonymous" false $config)) (not $values.existingConfigMap) -}}
{{- $messages = append $messages (printf "The credentials for %s would be lent to everybody who reaches the proxy, because there is no access control. If that is what you want, say config.access.allow_anonymous: true, and let in only who may with networkPolicy.clients." ($lent | uniq | sortAlpha | join ", ")) -}}
{{- end -}}

{{- if and $values.existingConfigMap $config -}}
{{- $messages = append $messages "config and existingConfigMap: only one of them can be the settings. Remove the other." -}}
{{- end -}}
{{- if and $values.existingConfigMap (or $values.redis.bundled.enabled $values.credentials) -}}
{{- $messages = append $messages "existingConfigMap: the chart writes no settings then, so redis.bundled and credentials have no effect. Remove them, and say the same in your ConfigMap." -}}
{{- end -}}

{{- if ne $values.storage.layout "bucket" -}}
{{- $settings := include "lighterage.settings" . | fromYaml -}}
{{- $size := include "lighterage.mebibytes" $values.storage.size | int64 -}}
{{- $blobs := include "lighterage.mebibytes" $settings.blobs.max_size | int64 -}}
{{- $spool := include "lighterage.mebibytes" $settings.limits.spool | int64 -}}
{{- if gt (add $blobs $spool) $size -}}
{{- $messages = append $messages (printf "config.blobs.max_size and config.limits.spool are %d MiB together, and storage.size is %d MiB: the disk would be full before anything is evicted. Make it larger, or one of them smaller." (add $blobs $spool) $size) -}}
{{- end -}}
{{- end -}}

{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- $messages = append $messages "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- $messages = append $messages "httpRoute.enabled needs the gateway in httpRoute.parentRefs." -}}
{{- end -}}

{{- with $messages -}}
{{- fail (printf "\n\n%s\n" (join "\n\n" .)) -}}
{{- end -}}
{{- end -}}
