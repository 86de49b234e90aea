{{/* Messages about values for the network that cannot work. */}}

{{- define "lighterage.refuse.network" -}}
{{- $service := .Values.service -}}
{{- $messages := list -}}
{{- if and $service.nodePort (eq $service.type "ClusterIP") -}}
{{- $messages = append $messages "service.nodePort: a Service of type ClusterIP has no port on the nodes. Set service.type to NodePort, or remove it." -}}
{{- end -}}
{{- if and $service.externalTrafficPolicy (eq $service.type "ClusterIP") -}}
{{- $messages = append $messages "service.externalTrafficPolicy: a Service of type ClusterIP has no traffic from outside. Set service.type to NodePort or LoadBalancer, or remove it." -}}
{{- end -}}
{{- range $key := list "loadBalancerClass" "loadBalancerIP" "loadBalancerSourceRanges" -}}
{{- if and (get $service $key) (ne $service.type "LoadBalancer") -}}
{{- $messages = append $messages (printf "service.%s is for a load balancer, and service.type is %s. Set that to LoadBalancer, or remove it; to restrict clients use networkPolicy.clients." $key $service.type) -}}
{{- end -}}
{{- end -}}
{{- if and (gt (len ($service.ipFamilies | default list)) 1) (not (has $service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack"))) -}}
{{- $messages = append $messages "service.ipFamilies has two: set service.ipFamilyPolicy to PreferDualStack or RequireDualStack." -}}
{{- end -}}
{{- if and (eq $service.trafficDistribution "PreferSameNode") (not (include "lighterage.hasSameNode" .)) -}}
{{- $messages = append $messages (printf "service.trafficDistribution: PreferSameNode needs Kubernetes 1.34, and this is %s. Remove it, or set service.internalTrafficPolicy to Local, with which a node that has no ready pod pulls from the registries themselves." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- with .Values.nodes.configure -}}
{{- if .enabled -}}
{{- if $.Values.existingConfigMap -}}
{{- $messages = append $messages "nodes.configure.enabled: the chart does not know the upstreams of existingConfigMap. Move the settings to config, or leave nodes.configure.enabled false and write the files with lighterage client-config." -}}
{{- end -}}
{{- if and (not .address) (hasSuffix "//ADDRESS" (include "lighterage.clients.url" $)) -}}
{{- $messages = append $messages "nodes.configure.enabled: nodes need an address of the proxy. Set service.type to NodePort and service.nodePort, or service.clusterIP, or hostPort with storage.layout: nodes; or name another address in nodes.configure.address." -}}
{{- end -}}
{{- if and (not .address) $.Values.hostPort (ne $.Values.storage.layout "nodes") -}}
{{- $messages = append $messages "nodes.configure.enabled: hostPort is there only on nodes that run a pod, and the others would wait for it. Set storage.layout to nodes, or service.type to NodePort and service.nodePort instead of hostPort; or name another address in nodes.configure.address." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $messages = append $messages "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $messages = append $messages "httpRoute.enabled needs the gateway in httpRoute.parentRefs." -}}
{{- end -}}
{{- range $argument := .Values.extraArgs -}}
{{- with regexFind "^--(config|listen|admin-listen|data)\\b" $argument -}}
{{- $messages = append $messages (printf "extraArgs: %s is set by the chart. Remove it, and use config, listenHost, service.port and storage." .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- with regexFind "^LIGHTERAGE_(CONFIG|LISTEN|ADMIN__LISTEN|DATA|SECRETS_DIR|PEERS__ADVERTISE)$" (toString .name) -}}
{{- $messages = append $messages (printf "extraEnv: %s is set by the chart. Remove it, and use config, listenHost, service.port and storage." .) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) -}}
{{- $config := .Values.config | default dict -}}
{{- $places := dict -}}
{{- range $name, $upstream := $config.upstreams | default dict -}}
{{- range $place := prepend ($upstream.mirrors | default list) $upstream -}}
{{- $_ := set $places (default $place.url $place.proxy) (printf "config.upstreams.%s" $name) -}}
{{- end -}}
{{- end -}}
{{- $redis := dig "manifests" "redis" (dict) $config -}}
{{- range $url := ternary (list $redis.url) $redis.url (kindIs "string" $redis.url) | default list -}}
{{- range $one := regexSplit "\\s*,\\s*" (toString $url) -1 -}}
{{- $_ := set $places $one "config.manifests.redis" -}}
{{- end -}}
{{- end -}}
{{- range $sentinel := $redis.sentinels | default list -}}
{{- $_ := set $places (printf "redis://%s" $sentinel) "config.manifests.redis" -}}
{{- end -}}
{{- range $store := list "s3" "gcs" "azure" -}}
{{- with dig "blobs" $store "endpoint" "" $config -}}
{{- $_ := set $places . (printf "config.blobs.%s.endpoint" $store) -}}
{{- end -}}
{{- end -}}
{{- $allowed := list -}}
{{- range .Values.networkPolicy.upstreamPorts }}{{ $allowed = append $allowed (toString .) }}{{ end -}}
{{- range $url, $where := $places -}}
{{- $scheme := regexFind "^[a-z]+" $url -}}
{{- $known := get (dict "http" "80" "https" "443" "redis" "6379" "rediss" "6379") $scheme -}}
{{- $port := default $known (regexFind ":[0-9]+(/|$)" $url | trimPrefix ":" | trimSuffix "/") -}}
{{- if and $port (not (has $port $allowed)) -}}
{{- $messages = append $messages (printf "networkPolicy blocks port %s, which %s uses: add it to networkPolicy.upstreamPorts, or a rule to networkPolicy.extraEgress." $port $where) -}}
{{- end -}}
{{- end -}}
{{- if .Values.redis.urlKey -}}
{{- $messages = append $messages "networkPolicy blocks the Redis of redis.urlKey, whose port the chart does not know: add a rule to networkPolicy.extraEgress, such as {ports: [{port: 6379}]}." -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $messages) -}}
{{- end -}}
